test_owners.o: tests/unit/test_owners.c src/table/owners.h \
  src/table/table.h src/core/instant.h src/core/key.h src/core/limit.h

src/table/owners.h:

src/table/table.h:

src/core/instant.h:

src/core/key.h:

src/core/limit.h:
