/* Every interleaving of three threads with at most three preemptions in the table's real code: more
 * than the suite has time for. `make interleave` runs it and prints how many schedules there are;
 * with an argument it runs only the scenarios whose names begin so.
 *
 * What is tried and judged stands in interleave_table.h. */
#define INTERLEAVE_STATES (1u << 25)
#include "race/interleave_table.h"

#define THREE(name, setup, thread, outcome) SCENARIO(name, 3, 3, setup, thread, outcome)

static const struct interleave_scenario scenarios[] = {
    THREE("one new key", setup_empty, charge_once, outcome_two),
    THREE("one new key, twice each", setup_empty, charge_twice, outcome_two),
    THREE("one new key among entries at rest", setup_at_rest, charge_once, outcome_two),
    THREE("one new key past home", setup_home_full, charge_once, outcome_two),
    THREE("new key against two sweeps", setup_at_rest, charge_or_sweep, outcome_two),
    THREE("past home against two sweeps, then again", setup_stale_mark, charge_or_sweep_and_charge,
          outcome_two),
    THREE("past home against two who clear the mark", setup_stale_mark, charge_or_two_sweeps,
          outcome_one),
    THREE("past home against home, freed meanwhile", setup_home_full, charge_or_free_and_charge,
          outcome_two),
    THREE("past home against home, and a stale mark", setup_stale_mark, charge_or_free_and_charge,
          outcome_two),
    THREE("claim against two withdrawals", setup_empty, charge_or_withdraw, outcome_one),
    THREE("last unit of a live key past home", setup_past_home, charge_once, outcome_one_more),
    THREE("charge against reuse by another key", setup_live, charge_or_reuse, outcome_admitted),
    THREE("charges against a reset", setup_empty, charge_or_reset, outcome_reset),
    THREE("a claim that a dead process left", setup_dead_claim, charge_once, outcome_two),
};

int main(int argc, char **argv)
{
    return explore_all(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);
}
