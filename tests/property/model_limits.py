"""What a limit is, slowly: the judge of src/core.

Written from the definitions with unbounded integers: no packed halves, no signed differences, no
solved equations. A subject's state is read once as facts (an instant, or counts by the number of
their window, not wrapped); the facts answer one question at any later instant, "would this cost
pass then?", and decisions and waits are judged by asking it:

  decision      it passes now
  retry_after   it passes then, and not one nanosecond earlier
  rest_after    the subject is at rest then, and not one nanosecond earlier

The next state, what remains and the time to the full quota follow from the facts by one exact sum.
Quantities of the windows are compared as units times nanoseconds, which is exact.
"""

import datetime
import struct
from fractions import Fraction

NEVER = 2**64 - 1
CHECK, PEEK, AT_MOST, REFUND, RESET = range(5)
TOKEN_BUCKET, LEAKY_METER, LEAKY_QUEUE, FIXED_WINDOW, SLIDING_WINDOW, CONCURRENCY = range(1, 7)
CALENDAR = 7
UNLIMITED, DENY = 8, 9
TICKS_PER_NS = 16
TEN_YEARS_NS = 10 * 365 * 86400 * 10**9

# struct record and struct compiled of core_feed.c
RECORD = struct.Struct("<9Q4I4BI")
COMPILED = struct.Struct("<5QI4B")


class Bucket:
    """A bucket is a debt that melts with time: full again at the instant tat, in ticks."""

    def __init__(self, record, state):
        self.T, self.tau, self.burst = record.interval, record.tolerance, record.burst
        self.keeps_tat, self.tat = record.keeps_tat, state

    def debt(self, now_ns):
        ticks = min(now_ns * TICKS_PER_NS, 2**64 - 1)  # the clock stands at the end of its range
        return max(self.tat - ticks, 0)

    def believed_debt(self, now_ns):
        return self.debt(now_ns) if self.keeps_tat else min(self.debt(now_ns), self.tau)

    def passes(self, cost, now_ns):
        return self.believed_debt(now_ns) + cost * self.T <= self.tau

    def at_rest(self, now_ns):
        return self.debt(now_ns) == 0

    def left(self, debt):
        return max(self.tau - debt, 0) // self.T

    def remaining(self, now_ns):
        return self.left(self.debt(now_ns))

    def owe(self, debt, now_ns):
        """(next state, remaining, reset_after); the end of the range cuts the state only."""
        tat = min(min(now_ns * TICKS_PER_NS, 2**64 - 1) + debt, 2**64 - 1) if debt else 0
        return tat, self.left(debt), -(-debt // TICKS_PER_NS)

    def charged(self, cost, now_ns):
        return self.owe(self.believed_debt(now_ns) + cost * self.T, now_ns)

    def refunded(self, cost, now_ns):
        return self.owe(max(self.believed_debt(now_ns) - cost * self.T, 0), now_ns)

    def delay(self, now_ns):
        return -(-self.debt(now_ns) // TICKS_PER_NS)

    wrap_ns = NEVER


class Window:
    """Units by the number of the window they were taken in, windows counted from 1970. A stored
    number is known modulo 2^index_bits and means the window nearest to now, of two the earlier."""

    def __init__(self, record, index, counts, now_ns, index_bits):
        self.W, self.burst = record.interval, record.burst
        self.wrap_ns = min(self.W * 2 ** (index_bits - 1), 2**64 - 1)
        size = 2**index_bits
        now_index = now_ns // self.W
        distance = (index - now_index) % size
        if distance >= size // 2:
            distance -= size
        # A limit that was lowered sees at most itself; counts[i] was taken i windows ago.
        self.taken = {now_index + distance - i: min(count, self.burst)
                      for i, count in enumerate(counts) if count}
        # Before a window that another worker has seen begin, it is that window's first instant.
        self.begin_ns = (now_index + distance) * self.W if self.taken else 0

    def instant(self, now_ns):
        return max(now_ns, self.begin_ns)

    def passes(self, cost, now_ns):
        return self.used(now_ns) + cost * self.W <= self.burst * self.W

    def at_rest(self, now_ns):
        return self.used(now_ns) == 0

    def remaining(self, now_ns):
        return max(self.burst * self.W - self.used(now_ns), 0) // self.W

    def after(self, now_ns):
        state = self.pack(self.instant(now_ns) // self.W)
        return state, self.remaining(now_ns), self.rest_ns(now_ns)

    def rest_ns(self, now_ns):
        last = max((i for i, count in self.taken.items() if count), default=None)
        if last is None:
            return 0
        return max((last + self.VIEW) * self.W - now_ns, 0)

    def charged(self, cost, now_ns):
        index = self.instant(now_ns) // self.W
        self.taken[index] = self.taken.get(index, 0) + cost
        return self.after(now_ns)

    def refunded(self, cost, now_ns):
        index = self.instant(now_ns) // self.W
        for i in range(index, index - self.VIEW, -1):
            back = min(self.taken.get(i, 0), cost)
            self.taken[i] = self.taken.get(i, 0) - back
            cost -= back
        return self.after(now_ns)


class FixedWindow(Window):
    VIEW = 1  # windows in which a unit counts

    def __init__(self, record, state, now_ns):
        super().__init__(record, state >> 32, [state % 2**32], now_ns, 32)

    def used(self, now_ns):
        return self.taken.get(self.instant(now_ns) // self.W, 0) * self.W

    def pack(self, index):
        count = self.taken.get(index, 0)
        return (index % 2**32) * 2**32 + count if count else 0


class SlidingWindow(Window):
    VIEW = 2

    def __init__(self, record, state, now_ns):
        counts = [state % 2**24, state // 2**24 % 2**24]
        super().__init__(record, state // 2**48, counts, now_ns, 16)

    def used(self, now_ns):
        index, elapsed = divmod(self.instant(now_ns), self.W)
        return (self.taken.get(index - 1, 0) * (self.W - elapsed)
                + self.taken.get(index, 0) * self.W)

    def pack(self, index):
        current, previous = self.taken.get(index, 0), self.taken.get(index - 1, 0)
        if not current and not previous:
            return 0
        return (index % 2**16) * 2**48 + previous * 2**24 + current


class Calendar:
    """Units taken until an instant. What is written down says when that is, in seconds; the dates of a zone of one offset say
    it of a new period. 2^32 - 1 s is never."""

    EPOCH = datetime.date(1970, 1, 1).toordinal()
    NO_END = 2**32 - 1
    wrap_ns = NEVER

    def __init__(self, record, state, now_ns):
        self.per, self.burst = record.interval, record.burst
        self.offset_s = (record.tolerance + 2**63) % 2**64 - 2**63
        self.end_s, self.taken = divmod(state, 2**32)
        self.taken = min(self.taken, self.burst)
        if self.taken == 0 or self.end_ns() <= now_ns:
            self.end_s, self.taken = self.end_of(now_ns // 10**9), 0

    def end_of(self, at_s):
        date = datetime.date.fromordinal(self.EPOCH + (at_s + self.offset_s) // 86400)
        following = (date + datetime.timedelta(1),
                     date + datetime.timedelta(7 - date.weekday()),
                     (date.replace(day=1) + datetime.timedelta(31)).replace(day=1),
                     datetime.date(date.year + 1, 1, 1))[self.per]
        return min((following.toordinal() - self.EPOCH) * 86400 - self.offset_s, self.NO_END)

    def end_ns(self):
        return float("inf") if self.end_s == self.NO_END else self.end_s * 10**9

    def used(self, now_ns):
        return self.taken if now_ns < self.end_ns() else 0

    def passes(self, cost, now_ns):
        return self.used(now_ns) + cost <= self.burst

    def at_rest(self, now_ns):
        return self.used(now_ns) == 0

    def remaining(self, now_ns):
        return self.burst - self.used(now_ns)

    def charged(self, cost, now_ns):
        taken = max(self.taken + cost, 0)
        if not taken:
            return 0, self.burst, 0
        return self.end_s * 2**32 + taken, self.burst - taken, min(self.end_ns() - now_ns, NEVER)

    def refunded(self, cost, now_ns):
        return self.charged(-cost, now_ns)


class Record:
    __slots__ = ("interval", "tolerance", "state", "now_ns", "next_state", "retry_after_ns",
                 "reset_after_ns", "rest_after_ns", "wrap_ns", "burst", "cost", "granted",
                 "remaining", "algorithm", "keeps_tat", "operation", "decision", "zero")

    def __init__(self, fields):
        (self.interval, self.tolerance, self.state, self.now_ns, self.next_state,
         self.retry_after_ns, self.reset_after_ns, self.rest_after_ns, self.wrap_ns, self.burst,
         self.cost, self.granted, self.remaining, self.algorithm, self.keeps_tat, self.operation,
         self.decision, self.zero) = fields

    def __str__(self):
        return " ".join(f"{name}={getattr(self, name)}" for name in self.__slots__)


def subject_of(record):
    if record.algorithm in (TOKEN_BUCKET, LEAKY_METER, LEAKY_QUEUE):
        return Bucket(record, record.state)
    kind = {FIXED_WINDOW: FixedWindow, SLIDING_WINDOW: SlidingWindow, CALENDAR: Calendar}[record.algorithm]
    return kind(record, record.state, record.now_ns)


def first_instant(holds, after_ns, now_ns):
    """Is after_ns the exact wait until holds()? Waits beyond 64 bits are reported as NEVER."""
    if after_ns == NEVER:
        return not holds(now_ns + NEVER - 1)
    return holds(now_ns + after_ns) and (after_ns == 0 or not holds(now_ns + after_ns - 1))


def judge(record):
    """None if the step is right, else the name of what is wrong."""
    subject, now_ns, cost = subject_of(record), record.now_ns, record.cost
    if record.wrap_ns != subject.wrap_ns:
        return "wrap_ns"
    if not first_instant(subject.at_rest, record.rest_after_ns, now_ns):
        return "rest_after_ns"
    if record.operation == RESET:
        expected = (0, record.burst, 0)
        return judge_outcome(record, True, 0, 0, expected)
    unchanged = (record.state, subject.remaining(now_ns), record.rest_after_ns)
    if record.operation == REFUND:
        return judge_outcome(record, True, 0, 0,
                             subject.refunded(cost, now_ns) if cost else unchanged)
    if record.operation == AT_MOST and cost > 0:
        cost = max(min(cost, unchanged[1]), 1)
    if not subject.passes(cost, now_ns):
        if cost > record.burst:
            return judge_outcome(record, False, 0, NEVER, unchanged)
        if not first_instant(lambda at_ns: subject.passes(cost, at_ns), record.retry_after_ns,
                             now_ns):
            return "retry_after_ns"
        return judge_outcome(record, False, 0, record.retry_after_ns, unchanged)
    delay = subject.delay(now_ns) if record.algorithm == LEAKY_QUEUE else 0
    if record.operation == PEEK or cost == 0:
        return judge_outcome(record, True, 0, delay, unchanged)
    return judge_outcome(record, True, cost, delay, subject.charged(cost, now_ns))


def judge_outcome(record, allowed, granted, retry_after_ns, outcome):
    state, remaining, reset_after_ns = outcome
    if record.decision != allowed:
        return "decision"
    if record.granted != granted:
        return "granted"
    if record.retry_after_ns != retry_after_ns:
        return "retry_after_ns"
    if record.next_state != state:
        return "next_state"
    if record.remaining != remaining:
        return "remaining"
    if record.reset_after_ns != min(reset_after_ns, NEVER):
        return "reset_after_ns"
    return None


# enum limit_error
(OK, BAD_ALGORITHM, ZERO_COUNT, ZERO_PERIOD, RATE_TOO_HIGH, BURST_TOO_LARGE, TAU_TOO_LONG,
 WINDOW_TOO_SHORT, WINDOW_TOO_LONG, SLIDING_TOO_LARGE, TOO_MANY_SLOTS, LEASE_TOO_SHORT,
 LEASE_TOO_LONG) = range(13)


def allowed_errors(algorithm, count, period_ns, burst):
    """Every refusal that is true of this specification; none if it must compile."""
    if algorithm in (UNLIMITED, DENY):
        return set()
    if algorithm not in range(TOKEN_BUCKET, CONCURRENCY + 1):
        return {BAD_ALGORITHM}
    if count == 0 or period_ns == 0:
        return {error for error, value in ((ZERO_COUNT, count), (ZERO_PERIOD, period_ns))
                if value == 0}
    errors = set()
    if algorithm == CONCURRENCY:
        return {error for error, is_so in ((TOO_MANY_SLOTS, count > 2**20 - 1), (LEASE_TOO_SHORT, period_ns < 10**7),
                                           (LEASE_TOO_LONG, period_ns > 7 * 86400 * 10**9)) if is_so}
    if algorithm in (FIXED_WINDOW, SLIDING_WINDOW):
        if period_ns < (10**7 if algorithm == SLIDING_WINDOW else 10**6):
            errors.add(WINDOW_TOO_SHORT)
        if period_ns > TEN_YEARS_NS:
            errors.add(WINDOW_TOO_LONG)
        if algorithm == FIXED_WINDOW and count > 2**32 - 1:
            errors.add(BURST_TOO_LARGE)
        if algorithm == SLIDING_WINDOW and count > 2**24 - 1:
            errors.add(SLIDING_TOO_LARGE)
        return errors
    if Fraction(count, period_ns) * 10**9 > 10**9:
        errors.add(RATE_TOO_HIGH)
    if (burst or count) > 2**32 - 1:
        errors.add(BURST_TOO_LARGE)
    if ceiling(Fraction(period_ns * TICKS_PER_NS, count)) * (burst or count) \
            > TEN_YEARS_NS * TICKS_PER_NS:
        errors.add(TAU_TOO_LONG)
    return errors


def ceiling(fraction):
    return -(-fraction.numerator // fraction.denominator)


def judge_compiled(fields):
    """None if limit_compile() did right, else what is wrong."""
    (count, period_ns, spec_burst, interval, tolerance, burst, algorithm, error,
     compiled_algorithm, _) = fields
    errors = allowed_errors(algorithm, count, period_ns, spec_burst)
    if error != OK:
        untouched = (interval, tolerance, burst, compiled_algorithm) == (1, 2, 3, 4)
        return None if error in errors and untouched else "refusal"
    if errors or compiled_algorithm != algorithm:
        return "should have been refused"
    if algorithm in (UNLIMITED, DENY):
        return None if (interval, tolerance, burst) == (0, 0, 0) else "numbers of a constant"
    if algorithm in (FIXED_WINDOW, SLIDING_WINDOW, CONCURRENCY):
        return None if (interval, tolerance, burst) == (period_ns, 0, count) else "window"
    exact = Fraction(period_ns * TICKS_PER_NS, count)
    if not exact <= interval < exact + 1:
        return "T is not the ceiling"
    if Fraction(count, period_ns) <= Fraction(10**6, 10**9) \
            and interval - exact > exact / 10**4:
        return "error above 1e-4"
    if (tolerance, burst) != (interval * (spec_burst or count), spec_burst or count):
        return "tau or burst"
    return None
