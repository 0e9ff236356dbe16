test_table.o: tests/unit/test_table.c src/table/mapping.h \
  src/core/grant.h src/core/instant.h src/core/limit.h \
  src/core/saturate.h src/core/share.h src/core/gcra.h src/table/entry.h \
  src/core/key.h src/table/table.h

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
