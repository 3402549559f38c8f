//! NVMe/TCP: PDU codec, sans-io connection, socket engine, accelerator seam
