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
