/*
 * The prototypes of what stands in for libc, so that each definition is checked against a declaration.
 */
#ifndef STAND_INS_H
#define STAND_INS_H

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>

void *fault_malloc(size_t size);
void *fault_calloc(size_t count, size_t size);
void *fault_realloc(void *memory, size_t size);
void fault_free(void *memory);
void *fault_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int fault_munmap(void *at, size_t size);
int fault_mprotect(void *at, size_t size, int protection);
int fault_madvise(void *at, size_t size, int advice);
int fault_open(const char *path, int flags, ...);
int fault_close(int fd);
int fault_fcntl(int fd, int command, ...);
int fault_dup2(int from, int to);
int fault_pipe(int ends[2]);
int fault_pipe2(int ends[2], int flags);
ssize_t fault_read(int fd, void *buffer, size_t size);
ssize_t fault_write(int fd, const void *data, size_t size);
int fault_poll(struct pollfd *fds, nfds_t count, int timeout);
int fault_epoll_create1(int flags);
int fault_epoll_ctl(int set, int operation, int fd, struct epoll_event *event);
int fault_epoll_wait(int set, struct epoll_event *events, int most, int timeout);
int fault_socketpair(int domain, int type, int protocol, int ends[2]);
int fault_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int fault_getsockname(int fd, struct sockaddr *name, socklen_t *size);
int fault_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
ssize_t fault_send(int fd, const void *data, size_t size, int flags);
ssize_t fault_recv(int fd, void *buffer, size_t size, int flags);
ssize_t fault_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t fault_recvmsg(int fd, struct msghdr *message, int flags);
int fault_clone(int (*run)(void *), void *stack, int flags, void *arg, ...);
pid_t fault_fork(void);
int fault_execve(const char *path, char *const argv[], char *const envp[]);
int fault_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
pid_t fault_waitpid(pid_t pid, int *status, int options);
pid_t fault_wait4(pid_t pid, int *status, int options, struct rusage *usage);
int fault_kill(pid_t pid, int signal);
long fault_syscall(long number, ...);
int fault_setrlimit(int resource, const struct rlimit *limit);
int fault_getrlimit(int resource, struct rlimit *limit);
int fault_prctl(int option, ...);
pid_t fault_setsid(void);
int fault_setpgid(pid_t pid, pid_t group);
int fault_nice(int increment);
int fault_chdir(const char *path);
int fault_setgroups(size_t count, const gid_t *groups);
int fault_setregid(gid_t real, gid_t effective);
int fault_setreuid(uid_t real, uid_t effective);
int fault_sigaction(int signal, const struct sigaction *action, struct sigaction *old);
int fault_getgroups(int count, gid_t *groups);
ssize_t fault_readlink(const char *path, char *buffer, size_t size);
int fault_stat(const char *path, struct stat *st);
int fault_ioctl(int fd, unsigned long request, ...);
int fault_posix_openpt(int flags);
int fault_grantpt(int fd);
int fault_unlockpt(int fd);
char *fault_ptsname(int fd);
int fault_pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);
int fault_pthread_attr_init(pthread_attr_t *attributes);
int fault_pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size);
int fault_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int fault_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes);
int fault_pthread_condattr_init(pthread_condattr_t *attributes);
int fault_pthread_condattr_setclock(pthread_condattr_t *attributes, clockid_t clock);

#endif
