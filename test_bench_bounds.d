test_bench_bounds.o: tests/unit/test_bench_bounds.c \
  src/cmd/bench_bounds.h src/core/limit.h tests/lib/random.h

src/cmd/bench_bounds.h:

src/core/limit.h:

tests/lib/random.h:
