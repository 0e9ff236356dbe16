test_frame.o: tests/unit/test_frame.c src/net/frame.h tests/unit/frames.h

src/net/frame.h:

tests/unit/frames.h:
