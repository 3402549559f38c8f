/* What ci/bindings hands to bindgen. */
#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
