test_xdp_program.o: tests/unit/test_xdp_program.c tests/lib/random.h \
  src/net/xdp_program.h src/net/frame.h tests/unit/frames.h

tests/lib/random.h:

src/net/xdp_program.h:

src/net/frame.h:

tests/unit/frames.h:
