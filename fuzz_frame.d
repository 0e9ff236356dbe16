fuzz_frame.o: tests/fuzz/fuzz_frame.c src/net/frame.h src/obs/assert.h

src/net/frame.h:

src/obs/assert.h:
