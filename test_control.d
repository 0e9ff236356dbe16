test_control.o: tests/unit/test_control.c src/net/control.h

src/net/control.h:
