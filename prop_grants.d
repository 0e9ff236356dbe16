prop_grants.o: tests/property/prop_grants.c src/core/merge.h \
  src/core/limit.h tests/lib/random.h src/replica/delta.h

src/core/merge.h:

src/core/limit.h:

tests/lib/random.h:

src/replica/delta.h:
