micro_merge.o: bench/micro_merge.c tests/property/redis_server.h \
  src/replica/redis.h src/replica/link_message.h src/replica/batch.h \
  src/core/key.h src/core/merge.h src/core/limit.h \
  src/replica/link_script.h

tests/property/redis_server.h:

src/replica/redis.h:

src/replica/link_message.h:

src/replica/batch.h:

src/core/key.h:

src/core/merge.h:

src/core/limit.h:

src/replica/link_script.h:
