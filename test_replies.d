test_replies.o: tests/unit/test_replies.c src/net/replies.h \
  src/net/control.h src/net/frame.h src/net/io.h

src/net/replies.h:

src/net/control.h:

src/net/frame.h:

src/net/io.h:
