"""One end of a message channel, written from libproc-protocol(7): the tests of test_python.c talk with it.

The first word of its arguments says what it does besides answering: "serve" nothing, "ask" calls the other end.
"""
import array, collections, os, socket, struct, sys

HELLO, MSG, REQ, REPLY, ERROR, CANCEL, ACK, PING, PONG, END = 1, 2, 3, 4, 5, 6, 7, 11, 12, 13
MORE, DEADLINE, WINDOW, HEADER = 1, 4, 65536, struct.Struct("<IBBBBIIII")


class Channel:
    def __init__(self, fd):
        self.socket = socket.socket(fileno=fd)
        self.inbox, self.batches, self.gated = bytearray(), collections.deque(), collections.deque()
        self.sent = self.acked = self.consumed = self.told = 0
        self.window, self.met, self.pinged, self.stuck = 65536, False, False, False
        hello = struct.pack("<HHIIHBBQH", 1, 1, 32 << 20, WINDOW, 64, 8, 0, 0, 6) + b"python"
        self.write(HELLO, payload=hello, type=0x31435250)

    def write(self, kind, payload=b"", flags=0, id=0, type=0, timeout=0, fds=()):
        self.told = self.consumed
        head = HEADER.pack(len(payload), kind, flags, len(fds), 0xC7, id, type, timeout, self.consumed & 0xFFFFFFFF)
        frame = head + payload + bytes(-len(payload) % 8)
        if fds:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            frame = frame[self.socket.sendmsg([frame[:4096]], rights):]
            for fd in fds:
                os.close(fd)
        while frame:  # whoever reads meanwhile keeps the other end going
            try:
                frame = frame[self.socket.send(frame, socket.MSG_DONTWAIT):]
            except BlockingIOError:
                self.fill(1)

    def send(self, kind, payload=b"", **rest):  # what the window may hold back
        self.gated.append((kind, payload, rest))
        self.push()

    def push(self):
        while self.gated:
            kind, payload, rest = self.gated[0]
            size = 24 + len(payload) + -len(payload) % 8
            outstanding = self.sent - self.acked
            if not self.met or outstanding and outstanding + size > self.window:
                if self.met and not self.stuck:
                    self.stuck = True
                    self.write(PING, id=7)
                return
            self.gated.popleft()
            self.sent += size if kind != END else 0
            self.write(kind, payload, **rest)

    def fill(self, wait):
        import select
        if not wait or select.select([self.socket], [], [], 0.05)[0]:
            data, control, flags, _ = self.socket.recvmsg(1 << 18, socket.CMSG_SPACE(253 * 4))
            fds = array.array("i")
            for level, type, bytes in control:
                if (level, type) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(bytes[:len(bytes) - len(bytes) % 4])
            if fds:
                self.batches.append(list(fds))
            self.inbox += data
            return len(data) > 0

    def receive(self):
        """The next frame of the program's: (kind, flags, id, type, payload, fds), or None at the end."""
        while True:
            while len(self.inbox) >= 24:
                size, kind, flags, count, magic, id, type, timeout, ack = HEADER.unpack_from(self.inbox)
                wire = 24 + size + -size % 8
                assert magic == 0xC7 and (self.met or kind == HELLO), "protocol"
                if len(self.inbox) < wire:
                    break
                payload = bytes(self.inbox[24:24 + size])
                del self.inbox[:wire]
                moved = (ack - self.acked) & 0xFFFFFFFF
                assert moved <= self.sent - self.acked, "ack"
                self.acked += moved
                self.stuck = self.stuck and not moved
                if kind == HELLO:
                    self.met, self.window = True, struct.unpack_from("<I", payload, 8)[0]
                elif kind == PING:
                    self.pinged = True
                    self.write(PONG, id=id)
                if kind in (MSG, REQ) or kind == REPLY and flags & MORE:
                    self.consumed += wire
                    if self.consumed - self.told >= WINDOW // 2 or self.pinged:
                        self.write(ACK)
                self.push()
                if kind in (MSG, REQ, REPLY, ERROR, CANCEL, END):
                    return kind, flags, id, type, payload, self.batches.popleft() if count else []
            if not self.fill(0):
                return None


def read_all(fd):
    with open(fd, "rb") as file:
        return file.read()


def pipe_with(content):
    ends = os.pipe()
    os.write(ends[1], content)
    os.close(ends[1])
    return ends[0]


def answer(channel, id, type, payload, state):
    if type == 10:
        channel.write(REPLY, payload.upper(), id=id)
    elif type == 11:
        channel.write(ERROR, b"refused", id=id, type=struct.unpack("<I", payload)[0])
    elif type == 12:
        for part in range(3):
            channel.send(REPLY, b"part %d" % part, id=id, flags=MORE)
        assert not channel.gated
        channel.write(REPLY, b"last", id=id)
    elif type == 14:
        channel.write(REPLY, id=id, fds=[pipe_with(b"from python")])
    elif type == 15:  # ask the other end, and answer with what it says
        state["asked"] = id
        channel.send(REQ, payload, id=99, type=20, flags=DEADLINE, timeout=5000)
    elif type == 13:  # answered when it is cancelled
        state["waiting"] = id
    else:
        channel.write(ERROR, id=id, type=38)


def main():
    fd, version = os.environ.pop("PROC_CHANNEL").split(":")
    os.set_inheritable(int(fd), False)
    channel, state = Channel(int(fd)), {}
    while (frame := channel.receive()) is not None:
        kind, flags, id, type, payload, fds = frame
        if kind == MSG and type == 3:
            for number in range(struct.unpack("<I", payload)[0]):
                channel.send(MSG, struct.pack("<I", number) * 5000, type=3)
        elif kind == MSG and type != 4:  # 4 is dropped
            channel.send(MSG, b"".join(map(read_all, fds)) if fds else payload, type=type)
        elif kind == REQ:
            answer(channel, id, type, payload, state)
        elif kind == CANCEL and id == state.pop("waiting", None):  # others are answered already
            channel.write(REPLY, id=id)
            channel.send(MSG, b"cancelled", type=13)
        elif kind in (REPLY, ERROR):
            channel.write(REPLY, payload, id=state["asked"], type=type)
        elif kind == END:
            channel.send(END)
            break


main()
