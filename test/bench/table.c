/* Tables: rows are added, measured, printed, and appended to results.tsv, from which the pictures are made. */
#include "bench.h"

static FILE *results;

bench_table *bench_table_new(const char *topic, const char *title, const char *unit, double scale)
{
    bench_table *table = calloc(1, sizeof *table);

    if (table == NULL) {
        bench_die("calloc", ENOMEM);
    }
    table->topic = topic;
    table->title = title;
    table->unit = unit;
    table->scale = scale;
    return table;
}

bench_case *bench_add(bench_table *table, const char *name, const char *peer, const char *op, double aim)
{
    if (table->count == BENCH_CASES) {
        bench_die("more cases than a table has room for", E2BIG);
    }
    bench_case *one = &table->cases[table->count];
    *one = (bench_case){.name = name, .peer = peer, .op = op, .aim = aim};
    one->floor = table->count > 0 ? one[-1].floor : 0;
    table->count++;
    return one;
}

bench_case *bench_add_floor(bench_table *table, const char *name, const char *peer, const char *op)
{
    bench_case *one = bench_add(table, name, peer, op, 0);

    one->floor = (int)(one - table->cases);
    return one;
}

/* ---- printing */

static double shown(const bench_table *table, double ns)
{
    return table->rate ? 1e9 / ns / table->scale : ns / table->scale;
}

static const char *figure(char text[16], double value)
{
    snprintf(text, 16, value < 0 ? "-" : value < 10 ? "%.2f" : value < 1000 ? "%.1f" : "%.0f", value);
    return text;
}

/* Of times the smaller is better, of rates the larger; a ratio is that of what the table shows. */
static double ratio(const bench_table *table, double value, double floor)
{
    return value <= 0 || floor <= 0 ? -1 : table->rate ? floor / value : value / floor;
}

static void print_aim(const bench_table *table, const bench_case *one, double wall_ratio, double cpu_ratio)
{
    double reached = one->by_cpu ? cpu_ratio : wall_ratio;
    bool met = table->rate ? reached >= one->aim : reached <= one->aim;

    printf(" %s%.2f%s %s", table->rate ? ">= " : "<= ", one->aim, one->by_cpu ? " cpu" : "", met ? "ok" : "over");
}

static void print_row(const bench_table *table, const bench_case *one)
{
    const bench_case *floor = &table->cases[one->floor];
    char text[5][16];
    double wall_ratio = ratio(table, one->middle.wall, floor->middle.wall);
    double cpu_ratio = ratio(table, one->middle.cpu, floor->middle.cpu);

    if (one->skipped[0] != '\0') {
        printf("  %-44s %s\n", one->name, one->skipped);
        return;
    }
    const double *low = table->rate ? &one->high.wall : &one->low.wall;
    const double *high = table->rate ? &one->low.wall : &one->high.wall;
    printf("  %-44s %9s %9s %9s", one->name, figure(text[0], shown(table, one->middle.wall)),
           figure(text[1], shown(table, *low)), figure(text[2], shown(table, *high)));
    if (floor == one || floor->skipped[0] != '\0') {
        printf(" %7s %9s %7s\n", "", figure(text[3], one->middle.cpu / (table->rate ? 1e3 : table->scale)), "");
        return;
    }
    snprintf(text[4], sizeof text[4], cpu_ratio < 0 ? "-" : "%.2f", cpu_ratio);
    printf(" %7.2f %9s %7s", wall_ratio, figure(text[3], one->middle.cpu / (table->rate ? 1e3 : table->scale)),
           text[4]);
    if (one->aim > 0) {
        print_aim(table, one, wall_ratio, cpu_ratio);
    }
    printf("\n");
}

/* A library that is missing is told of once. */
static bool told_before(const bench_table *table, int row)
{
    for (int i = 0; i < row; i++) {
        if (table->cases[i].skipped[0] != '\0' && strcmp(table->cases[i].name, table->cases[row].name) == 0) {
            return true;
        }
    }
    return false;
}

static void print_remarks(const bench_table *table)
{
    const char *last = "";

    for (int i = 0; i < table->count; i++) {
        const bench_case *one = &table->cases[i];
        if (one->pid > 0 && one->remark[0] != '\0' && strcmp(one->remark, last) != 0) {
            printf("  %s: %s\n", one->name, one->remark);
            last = one->remark;
        }
    }
}

static void print(const bench_table *table)
{
    const char *group = NULL;

    printf("\n%-46s %9s %9s %9s %7s %9s %7s %s\n", table->title, table->unit, "p10", "p90", "ratio",
           table->rate ? "cpu us" : "cpu", "ratio", "aim");
    for (int i = 0; i < table->count; i++) {
        const bench_case *one = &table->cases[i];
        if (one->skipped[0] != '\0' && told_before(table, i)) {
            continue;
        }
        if (one->group != NULL && (group == NULL || strcmp(group, one->group) != 0)) {
            group = one->group;
            printf(" %s\n", group);
        }
        print_row(table, one);
    }
    print_remarks(table);
    if (table->rounds > 0) {
        printf("  (%d samples of each)\n", table->rounds);
    }
    fflush(stdout);
}

/* A line of the picture, a point: topic, line, x, median, p10, p90. */
static void record(const bench_table *table)
{
    char path[8192];

    if (results == NULL) {
        snprintf(path, sizeof path, "%s/results.tsv", bench_directory);
        results = fopen(path, "w");
        if (results == NULL) {
            bench_die(path, errno);
        }
    }
    for (int i = 0; i < table->count; i++) {
        const bench_case *one = &table->cases[i];
        if (one->line != NULL && one->pid > 0) {
            fprintf(results, "%s\t%s\t%g\t%g\t%g\t%g\n", table->topic, one->line, one->x,
                    shown(table, one->middle.wall), shown(table, one->low.wall), shown(table, one->high.wall));
        }
    }
    fflush(results);
}

void bench_table_run(bench_table *table)
{
    bench_cases_run(table);
    print(table);
    record(table);
    free(table);
}
