//! Linux multi-queue TUN.
