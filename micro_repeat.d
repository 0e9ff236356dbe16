micro_repeat.o: bench/micro_repeat.c src/engine/repeat.h \
  tests/lib/random.h bench/micro.h src/sys/memory.h

src/engine/repeat.h:

tests/lib/random.h:

bench/micro.h:

src/sys/memory.h:
