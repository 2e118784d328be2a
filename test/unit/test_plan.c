/*
 * The pure part of the plan: the order of the descriptors' moves, against a model of what the child does with them.
 */
#include "harness.h"

#include "plan.h"

enum { MODEL = 6, MODEL_CHOICES = MODEL + 1, TABLE = 3 * MODEL };

/* What the child does, on a table of numbers: lift what must be lifted, then place in order. */
static void follow_moves(const launch_move *moves, size_t count, int table[TABLE])
{
    int lifted[MODEL], top = MODEL;

    for (size_t i = 0; i < count; i++) {
        if (moves[i].lift) {
            lifted[i] = top;
            table[top++] = table[moves[i].from];
        }
    }
    for (size_t i = 0; i < count; i++) {
        table[moves[i].to] = table[moves[i].lift ? lifted[i] : moves[i].from];
    }
}

static size_t moves_of(int number, launch_move *moves, int wanted[MODEL])
{
    size_t count = 0;

    for (int to = 0; to < MODEL; to++, number /= MODEL_CHOICES) {
        int from = number % MODEL_CHOICES;

        wanted[to] = from == MODEL ? to : from;
        if (from != MODEL) {
            moves[count++] = (launch_move){.to = to, .from = from, .source = LAUNCH_FD, .option = to};
        }
    }
    return count;
}

static void arranged_moves_give_every_number_what_it_was_to_get(void **state)
{
    (void)state;
    int all = 1;

    for (int i = 0; i < MODEL; i++) {
        all *= MODEL_CHOICES;
    }
    for (int number = 0; number < all; number++) {
        launch_move moves[MODEL] = {{0}}, given[MODEL] = {{0}};
        int wanted[MODEL], table[TABLE];
        size_t count = moves_of(number, given, wanted);

        for (size_t i = 0; i < count; i++) { /* in an order that changes with the number */
            moves[(i + (size_t)number) % count] = given[i];
        }
        for (int fd = 0; fd < TABLE; fd++) {
            table[fd] = fd;
        }
        assert_true(plan_arrange_moves(moves, count));
        follow_moves(moves, count, table);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(table[moves[i].to], wanted[moves[i].to]);
            assert_int_equal(moves[i].option, moves[i].to);
            assert_true(i == 0 || moves[i - 1].to < moves[i].to);
        }
    }
}

static void moves_that_name_a_target_twice_cannot_be_arranged(void **state)
{
    (void)state;
    launch_move moves[] = {{.to = 3, .from = 5}, {.to = 4, .from = 3}, {.to = 3, .from = 6}};

    assert_false(plan_arrange_moves(moves, COUNT(moves)));
    assert_true(plan_arrange_moves(moves, 0));
}

static void nothing_is_lifted_that_stays_or_is_in_nobodys_way(void **state)
{
    (void)state;
    launch_move moves[] = {{.to = 3, .from = 3}, {.to = 4, .from = 7}, {.to = 5, .from = 4}};

    assert_true(plan_arrange_moves(moves, COUNT(moves)));
    assert_false(moves[0].lift);
    assert_false(moves[1].lift);
    assert_true(moves[2].lift);
}

static const struct CMUnitTest tests[] = {
    TEST(arranged_moves_give_every_number_what_it_was_to_get),
    TEST(moves_that_name_a_target_twice_cannot_be_arranged),
    TEST(nothing_is_lifted_that_stays_or_is_in_nobodys_way),
};

HARNESS_MAIN(tests)
