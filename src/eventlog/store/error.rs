//! Why the store cannot do what was asked.

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds it.
    #[error("the log is in use by another process")]
    Locked,
    /// Written by a later version.
    #[error("the log has format {found}, this lansync knows up to {known}")]
    TooNew {
        /// Its number.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// It is no log, or its pages or rows do not check.
    #[error("the log is damaged ({0})")]
    Corrupt(String),
    /// No space left on the disk.
    #[error("the disk is full")]
    Full,
    /// Any other trouble with the file.
    #[error("the log cannot be read or written: {0}")]
    Io(String),
    /// A commit failed, and what it wrote may be durable all the same: reopen before appending again.
    #[error("the log may or may not hold the last events ({0})")]
    CommitUnknown(String),
}

impl StoreError {
    pub(super) fn io(error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull { Self::Full } else { Self::Io(error.to_string()) }
    }
}

impl From<redb::StorageError> for StoreError {
    fn from(error: redb::StorageError) -> Self {
        match error {
            redb::StorageError::Corrupted(what) => Self::Corrupt(what),
            redb::StorageError::Io(error) => Self::io(&error),
            other => Self::Io(other.to_string()),
        }
    }
}

impl From<redb::DatabaseError> for StoreError {
    fn from(error: redb::DatabaseError) -> Self {
        match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Self::Locked,
            redb::DatabaseError::Storage(redb::StorageError::Io(error))
                if error.kind() == std::io::ErrorKind::InvalidData =>
            {
                Self::Corrupt(error.to_string())
            }
            redb::DatabaseError::Storage(error) => error.into(),
            redb::DatabaseError::RepairAborted => Self::Corrupt("it was not closed and cannot be repaired".to_owned()),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

impl From<redb::TransactionError> for StoreError {
    fn from(error: redb::TransactionError) -> Self {
        match error {
            redb::TransactionError::Storage(error) => error.into(),
            other => Self::Io(other.to_string()),
        }
    }
}

impl From<redb::TableError> for StoreError {
    fn from(error: redb::TableError) -> Self {
        match error {
            redb::TableError::Storage(error) => error.into(),
            redb::TableError::TableDoesNotExist(name) => Self::Corrupt(format!("table {name} is missing")),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

impl From<redb::CommitError> for StoreError {
    fn from(error: redb::CommitError) -> Self {
        match error {
            redb::CommitError::Storage(redb::StorageError::Io(error))
                if error.kind() == std::io::ErrorKind::StorageFull =>
            {
                Self::Full
            }
            other => Self::CommitUnknown(other.to_string()),
        }
    }
}

impl From<redb::CompactionError> for StoreError {
    fn from(error: redb::CompactionError) -> Self {
        match error {
            redb::CompactionError::Storage(error) => error.into(),
            other => Self::Io(other.to_string()),
        }
    }
}
