micro_snapshot.o: bench/micro_snapshot.c src/core/gcra.h src/core/limit.h \
  src/core/saturate.h src/snapshot/load.h src/snapshot/read.h \
  src/snapshot/format.h src/table/copy.h src/core/instant.h \
  src/table/table.h src/core/key.h src/snapshot/save.h src/sys/replace.h \
  src/sys/clock.h

src/core/gcra.h:

src/core/limit.h:

src/core/saturate.h:

src/snapshot/load.h:

src/snapshot/read.h:

src/snapshot/format.h:

src/table/copy.h:

src/core/instant.h:

src/table/table.h:

src/core/key.h:

src/snapshot/save.h:

src/sys/replace.h:

src/sys/clock.h:
