/* Every interleaving of two threads in the table's real code, and of three where that takes a
 * moment; exhaust_table.c takes longer. What is tried and judged stands in interleave_table.h. */
#include "race/interleave_table.h"

static const struct interleave_scenario scenarios[] = {
    SCENARIO("one new key", 2, 0, setup_empty, charge_once, outcome_two),
    SCENARIO("one new key, twice each", 2, 4, setup_empty, charge_twice, outcome_two),
    SCENARIO("one new key", 3, 2, setup_empty, charge_once, outcome_two),
    SCENARIO("one new key among entries at rest", 2, 0, setup_at_rest, charge_once, outcome_two),
    SCENARIO("one new key past home", 2, 0, setup_home_full, charge_once, outcome_two),
    SCENARIO("one new key past home", 3, 2, setup_home_full, charge_once, outcome_two),
    SCENARIO("new key against a sweep", 2, 0, setup_at_rest, charge_or_sweep, outcome_two),
    SCENARIO("past home against a sweep, then again", 2, 4, setup_stale_mark,
             charge_or_sweep_and_charge, outcome_two),
    SCENARIO("past home against the clearing of a mark", 2, 0, setup_stale_mark,
             charge_or_two_sweeps, outcome_one),
    SCENARIO("past home against two who clear the mark", 3, 4, setup_stale_mark,
             charge_or_two_sweeps, outcome_one),
    SCENARIO("past home against home, freed meanwhile", 2, 0, setup_home_full,
             charge_or_free_and_charge, outcome_two),
    SCENARIO("past home against home, and a stale mark", 2, 0, setup_stale_mark,
             charge_or_free_and_charge, outcome_two),
    SCENARIO("claim against withdrawal", 2, 0, setup_empty, charge_or_withdraw, outcome_one),
    SCENARIO("last unit of a live key past home", 3, 0, setup_past_home, charge_once,
             outcome_one_more),
    SCENARIO("charge against reuse by another key", 2, 0, setup_live, charge_or_reuse,
             outcome_admitted),
    SCENARIO("a claim that a dead process left", 2, 0, setup_dead_claim, charge_once, outcome_two),
    SCENARIO("two keys for the last place", 2, 0, setup_last_place, charge_either,
             outcome_last_place),
    SCENARIO("eviction against a charge of the victim", 2, 0, setup_full, charge_either_evict,
             outcome_evicted),
    SCENARIO("charge against reset", 2, 0, setup_empty, charge_or_reset, outcome_reset),
};

int main(int argc, char **argv)
{
    return explore_all(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);
}
