test_snapshot.o: tests/unit/test_snapshot.c tests/unit/snapshot_fixture.h \
  src/snapshot/load.h src/snapshot/read.h src/snapshot/format.h \
  src/core/limit.h src/table/copy.h src/core/instant.h src/table/table.h \
  src/core/key.h src/snapshot/save.h src/sys/replace.h src/core/gcra.h \
  src/core/saturate.h src/table/lease.h

tests/unit/snapshot_fixture.h:

src/snapshot/load.h:

src/snapshot/read.h:

src/snapshot/format.h:

src/core/limit.h:

src/table/copy.h:

src/core/instant.h:

src/table/table.h:

src/core/key.h:

src/snapshot/save.h:

src/sys/replace.h:

src/core/gcra.h:

src/core/saturate.h:

src/table/lease.h:
