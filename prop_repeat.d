prop_repeat.o: tests/property/prop_repeat.c src/engine/repeat.c \
  src/engine/repeat.h src/engine/repeat_record.h src/obs/assert.h \
  tests/lib/random.h

src/engine/repeat.c:

src/engine/repeat.h:

src/engine/repeat_record.h:

src/obs/assert.h:

tests/lib/random.h:
