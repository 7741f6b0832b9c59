//! The admin interface: one HTTP API under `/v1`, health and metrics.
