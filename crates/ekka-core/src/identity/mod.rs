//! Whether a peer may be who it says it is: duplicates, restored copies, name conflicts, loopback, clocks.
