test_rows.o: tests/unit/test_rows.c src/replica/rows.h src/core/key.h \
  src/replica/delta.h src/core/limit.h src/core/merge.h \
  src/table/table.h src/core/instant.h src/replica/store_clock.h

src/replica/rows.h:

src/core/key.h:

src/replica/delta.h:

src/core/limit.h:

src/core/merge.h:

src/table/table.h:

src/core/instant.h:

src/replica/store_clock.h:
