/* Memory and a lock that all threads and processes of one sipd share; made before any child exists. Called by
 * registrar.c and delayed.c. */
#ifndef SIPD_SHARED_H
#define SIPD_SHARED_H
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *shared_map(size_t bytes); /* zeroed, memory only where it is used; NULL: errno says why */
bool shared_lock_init(pthread_mutex_t *mutex);
/* True: the last holder died inside. Whoever gets true repairs what the lock guards before anything else. */
bool shared_lock(pthread_mutex_t *mutex);
void shared_unlock(pthread_mutex_t *mutex);

uint64_t now_ms(void); /* CLOCK_MONOTONIC: the same in every process */
#endif
