interleave_shared.o: tests/race/interleave_shared.c \
  tests/race/interleave.h src/table/mapping.c src/table/mapping.h \
  src/core/grant.h src/core/instant.h src/core/limit.h \
  src/core/saturate.h src/core/share.h src/core/gcra.h src/table/entry.h \
  src/core/key.h src/table/table.h src/sys/machine.h src/sys/mapfile.h \
  src/sys/memory.h src/table/doubts.h src/table/owners.h \
  src/table/pair.h src/table/resume.h src/table/table.c \
  src/table/claim.h src/table/claim.c src/table/sweep.c \
  src/table/shared.c src/table/shared.h

tests/race/interleave.h:

src/table/mapping.c:

src/table/mapping.h:

src/core/grant.h:

src/core/instant.h:

src/core/limit.h:

src/core/saturate.h:

src/core/share.h:

src/core/gcra.h:

src/table/entry.h:

src/core/key.h:

src/table/table.h:

src/sys/machine.h:

src/sys/mapfile.h:

src/sys/memory.h:

src/table/doubts.h:

src/table/owners.h:

src/table/pair.h:

src/table/resume.h:

src/table/table.c:

src/table/claim.h:

src/table/claim.c:

src/table/sweep.c:

src/table/shared.c:

src/table/shared.h:
