//! What the tests share: the sample bucket, tables made by Python, and a bucket to change.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use scorer::{Engine, FolderStore, Progress, Settings};
use shared::{MemoryStore, conformance::World};
use tempfile::TempDir;

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The bucket that the repository carries.
pub(crate) fn sample_bucket() -> PathBuf {
    repository().join("sample/bucket")
}

/// The feature table of the sample bucket.
pub(crate) const SAMPLE_TABLE: &str = "features/cripto_features_20250729.parquet";

/// The version of the models in the sample bucket.
pub(crate) const SAMPLE_VERSION: &str = "20250729-2130";

/// Runs one of the Python scripts beside the tests.
pub(crate) fn python(script: &str, arguments: &[&OsStr]) {
    let python = env::var_os("CRIPTO_PYTHON").unwrap_or_else(|| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let run = Command::new(&python).arg(script).args(arguments).output();
    let wanted = "these tests need Python with pandas and pyarrow; name it in CRIPTO_PYTHON";
    let run = run.unwrap_or_else(|error| panic!("{}: {error}; {wanted}", python.display()));
    assert!(run.status.success(), "{}: {}\n{wanted}", python.display(), String::from_utf8_lossy(&run.stderr));
}

/// The folder of tables that `make_tables.py` writes, made once.
pub(crate) fn python_tables() -> &'static Path {
    static TABLES: OnceLock<TempDir> = OnceLock::new();
    TABLES.get_or_init(|| made_by("make_tables.py", &sample_bucket().join(SAMPLE_TABLE))).path()
}

/// The folder of models that `make_models.py` writes, made once.
pub(crate) fn python_models() -> &'static Path {
    static MODELS: OnceLock<TempDir> = OnceLock::new();
    MODELS.get_or_init(|| made_by("make_models.py", &sample_bucket())).path()
}

pub(crate) fn made_by(script: &str, input: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    python(script, &[input.as_ref(), folder.path().as_ref()]);
    folder
}

/// A folder that is a bucket.
pub(crate) struct FolderBucket {
    folder: TempDir,
}

impl FolderBucket {
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A copy of the sample bucket.
    pub(crate) fn sample() -> Self {
        let bucket = Self::empty();
        for folder in ["models", "features"] {
            for entry in fs::read_dir(sample_bucket().join(folder)).unwrap() {
                let entry = entry.unwrap();
                bucket.copy(&entry.path(), &format!("{folder}/{}", entry.file_name().display()));
            }
        }
        bucket
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn store(&self) -> FolderStore {
        FolderStore::open_folder(self.path()).unwrap()
    }

    pub(crate) fn write(&self, key: &str, content: &[u8]) {
        let path = self.path().join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn copy(&self, from: &Path, key: &str) {
        self.write(key, &fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())));
    }

    pub(crate) fn delete(&self, key: &str) {
        fs::remove_file(self.path().join(key)).unwrap();
    }

    pub(crate) fn engine(&self) -> (Engine, Arc<MemoryStore>) {
        let store = Arc::new(MemoryStore::default());
        (self.engine_on(&store, Settings::default()), store)
    }

    /// An engine that has read nothing yet, on a store that others may have published to.
    pub(crate) fn engine_on(&self, store: &Arc<MemoryStore>, settings: Settings) -> Engine {
        Engine::new(Arc::new(self.store()), Arc::clone(store) as _, settings, Progress::none())
    }
}

#[async_trait]
impl World for FolderBucket {
    async fn put(&self, key: &str, content: &[u8]) {
        self.write(key, content);
    }

    async fn remove(&self, key: &str) {
        self.delete(key);
    }
}
