prop_function.o: tests/property/prop_function.c src/core/merge.h \
  src/core/limit.h src/core/saturate.h tests/lib/random.h \
  tests/property/redis_server.h src/replica/redis.h src/replica/batch.h \
  src/core/key.h src/replica/link_message.h src/replica/link_script.h

src/core/merge.h:

src/core/limit.h:

src/core/saturate.h:

tests/lib/random.h:

tests/property/redis_server.h:

src/replica/redis.h:

src/replica/batch.h:

src/core/key.h:

src/replica/link_message.h:

src/replica/link_script.h:
