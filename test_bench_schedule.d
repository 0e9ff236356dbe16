test_bench_schedule.o: tests/unit/test_bench_schedule.c \
  src/cmd/bench_schedule.h

src/cmd/bench_schedule.h:
