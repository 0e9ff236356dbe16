test_ring.o: tests/unit/test_ring.c src/replica/demand.h \
  src/replica/ring.h src/core/key.h

src/replica/demand.h:

src/replica/ring.h:

src/core/key.h:
