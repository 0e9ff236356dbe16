test_io.o: tests/unit/test_io.c src/net/io.h src/net/socket.h

src/net/io.h:

src/net/socket.h:
