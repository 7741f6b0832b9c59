//! Named schedules.
