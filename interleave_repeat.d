interleave_repeat.o: tests/race/interleave_repeat.c \
  tests/race/interleave.h src/engine/repeat.c src/engine/repeat.h \
  src/engine/repeat_record.h src/obs/assert.h

tests/race/interleave.h:

src/engine/repeat.c:

src/engine/repeat.h:

src/engine/repeat_record.h:

src/obs/assert.h:
