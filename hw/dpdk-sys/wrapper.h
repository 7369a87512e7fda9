/* What is bound. The rte_config.h of the installed DPDK comes by the compiler's -include. */
#define _GNU_SOURCE /* fopencookie(3) */
#include <stdio.h>

#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_dmadev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

/* rte_errno is a macro over a thread-local variable, which bindgen cannot bind. */
static inline int dpdk_sys_errno(void)
{
	return rte_errno;
}

/* Buffers the calling lcore can have: those in its own cache and in none. The cache's layout depends on
 * the version. */
static inline unsigned int dpdk_sys_mempool_free_here(struct rte_mempool *mp)
{
	struct rte_mempool_cache *cache = rte_mempool_default_cache(mp, rte_lcore_id());

	return rte_mempool_get_ops(mp->ops_index)->get_count(mp) + (cache == NULL ? 0 : cache->len);
}
