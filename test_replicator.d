test_replicator.o: tests/unit/test_replicator.c src/core/gcra.h \
  src/core/limit.h src/core/saturate.h src/core/grant.h \
  src/core/instant.h src/core/share.h src/replica/demand.h \
  src/replica/replicator.h src/replica/batch.h src/core/key.h \
  src/core/merge.h src/replica/ring.h src/replica/shared_state.h \
  src/table/shared.h src/table/table.h

src/core/gcra.h:

src/core/limit.h:

src/core/saturate.h:

src/core/grant.h:

src/core/instant.h:

src/core/share.h:

src/replica/demand.h:

src/replica/replicator.h:

src/replica/batch.h:

src/core/key.h:

src/core/merge.h:

src/replica/ring.h:

src/replica/shared_state.h:

src/table/shared.h:

src/table/table.h:
