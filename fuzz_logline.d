fuzz_logline.o: tests/fuzz/fuzz_logline.c src/cmd/logline.h \
  src/cmd/printable.h

src/cmd/logline.h:

src/cmd/printable.h:
