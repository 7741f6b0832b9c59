//! The schedules that showed what each rule is needed for, as they were written down.
