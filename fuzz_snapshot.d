fuzz_snapshot.o: tests/fuzz/fuzz_snapshot.c src/snapshot/load.h \
  src/snapshot/read.h src/snapshot/format.h src/core/limit.h \
  src/table/copy.h src/core/instant.h src/table/table.h src/core/key.h \
  src/table/lease.h

src/snapshot/load.h:

src/snapshot/read.h:

src/snapshot/format.h:

src/core/limit.h:

src/table/copy.h:

src/core/instant.h:

src/table/table.h:

src/core/key.h:

src/table/lease.h:
