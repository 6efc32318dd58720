//! Data sets from files: which files are taken, what a mirror may send, and the real Fashion-MNIST.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;
use warpsweep::data::files::{FILES, load_folder};
use warpsweep::data::source::Places;
use warpsweep::data::verify::{Status, verify_folder};
use warpsweep::data::{Published, Source};
use warpsweep::{Error, Result};

const FASHION: Source = Source::Published(Published::FashionMnist);

/// The folder of the real Fashion-MNIST, if this machine has it.
fn real_folder() -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/fashion-mnist");
    let named = std::env::var_os("WARPSWEEP_DATA").map(PathBuf::from);
    let places = named.iter().flat_map(|dir| [dir.clone(), dir.join("fashion-mnist")]);
    let found = places.chain([shared]).find(|dir| dir.join(format!("{}.gz", FILES[0])).is_file());
    if found.is_none() {
        assert!(std::env::var_os("WARPSWEEP_REQUIRE_ALL").is_none(), "Fashion-MNIST is not here");
        println!("skipped: Fashion-MNIST is not here; set WARPSWEEP_DATA to its folder");
    }
    found
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx(magic: u32, sizes: &[u32], payload: &[u8]) -> Vec<u8> {
    let words = [magic].into_iter().chain(sizes.iter().copied());
    words.flat_map(u32::to_be_bytes).chain(payload.iter().copied()).collect()
}

/// Plain bytes of four files: 4 training and 2 test images of 2 x 3, each pixel `shade`.
fn tiny_files(shade: u8) -> [Vec<u8>; 4] {
    [
        idx(0x803, &[4, 2, 3], &[shade; 24]),
        idx(0x801, &[4], &[0, 1, 2, 9]),
        idx(0x803, &[2, 2, 3], &[shade; 12]),
        idx(0x801, &[2], &[3, 4]),
    ]
}

fn write_tiny(folder: &Path, shade: u8) {
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in FILES.iter().zip(tiny_files(shade)) {
        fs::write(folder.join(format!("{name}.gz")), gzip(&bytes)).unwrap();
    }
}

/// A mirror that nobody answers at: the port was free a moment ago.
fn dead_mirror() -> Option<String> {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Some(format!("http://{address}/"))
}

/// Serves `answer(file name)` at a local port; counts what it was asked for.
fn serve(
    answer: impl Fn(&str) -> Option<Vec<u8>> + Send + 'static,
) -> (Option<String>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap_or(Ok(String::new())).unwrap_or_default();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            counter.fetch_add(1, Ordering::SeqCst);
            let name = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let (status, body) = match answer(name) {
                Some(body) => ("200 OK", body),
                None => ("404 Not Found", Vec::new()),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            // A client that hangs up early (on a 404, say) is its own affair.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    (Some(format!("http://{address}/")), requests)
}

/// The shade of the tiny data set that was loaded.
fn shade(places: &Places) -> u8 {
    places.load(Some(&FASHION)).unwrap().dataset.train.pixels[0]
}

fn files_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_given_folder_comes_before_the_environments_and_that_before_the_cache() {
    let root = TempDir::new().unwrap();
    let [given, environment, cache] =
        ["given", "environment", "cache"].map(|n| root.path().join(n));
    fs::create_dir_all(&given).unwrap();
    let places = Places {
        data_dir: Some(given.clone()),
        environment: Some(environment.clone()),
        cache: Some(cache.clone()),
        mirror: dead_mirror(),
    };
    // From the last place to the first; in each, the folder itself wins over its subfolder.
    let order = [&cache, &environment, &given];
    for (i, place) in order.into_iter().enumerate() {
        let first = 10 * i as u8;
        write_tiny(&place.join("fashion-mnist"), first + 1);
        assert_eq!(shade(&places), first + 1, "{}", place.display());
        write_tiny(place, first + 2);
        assert_eq!(shade(&places), first + 2, "{}", place.display());
    }
}

#[test]
fn a_missing_data_set_is_an_error_by_name_and_a_note_by_default() {
    let root = TempDir::new().unwrap();
    let cache = Some(root.path().join("cache"));
    let places = Places { cache, mirror: dead_mirror(), ..Places::default() };
    for set in Published::ALL {
        let error = places.load(Some(&Source::Published(set))).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(message.starts_with(set.name()), "{message}");
        assert!(message.contains(&root.path().display().to_string()), "{message}");
        assert!(message.contains("--data-dir") && !message.contains('\n'), "{message}");
    }
    let loaded = places.load(None).unwrap();
    assert_eq!(loaded.dataset.name, "synthetic");
    assert_eq!((loaded.dataset.train.len(), loaded.dataset.test.len()), (60_000, 10_000));
    assert_eq!(loaded.folder, None);
    assert!(!root.path().join("cache").exists(), "an empty folder was left behind");
    let note = loaded.note.unwrap();
    assert!(note.contains("synthetic") && note.contains("fashion-mnist is not in"), "{note}");
}

#[test]
fn a_data_dir_that_is_no_folder_is_an_error_of_that_option() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("nowhere");
    let places = Places { data_dir: Some(path.clone()), ..Places::default() };
    for source in [None, Some(&FASHION)] {
        let error = places.load(source).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        let start = format!("--data-dir {} is no folder; ", path.display());
        assert!(message.starts_with(&start), "{message}");
    }
}

#[test]
fn without_a_home_folder_nothing_is_fetched_and_the_reason_is_said() {
    let error = Places::default().load(Some(&FASHION)).unwrap_err().to_string();
    assert!(error.contains("is not in any known folder"), "{error}");
    assert!(error.contains("no home folder"), "{error}");
}

#[test]
fn a_damaged_file_is_an_error_even_where_a_substitute_is_allowed() {
    let root = TempDir::new().unwrap();
    write_tiny(root.path(), 1);
    let path = root.path().join(format!("{}.gz", FILES[2]));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
    let places = Places { environment: Some(root.path().into()), ..Places::default() };
    for source in [None, Some(&FASHION)] {
        let error = places.load(source).unwrap_err();
        assert!(matches!(error, Error::DataFile { .. }), "{error}");
        assert!(error.to_string().contains(FILES[2]), "{error}");
    }
    fs::remove_file(&path).unwrap();
    for source in [None, Some(&FASHION)] {
        let error = places.load(source).unwrap_err();
        assert!(matches!(&error, Error::DataFileMissing { file, .. } if file == FILES[2]));
    }
}

#[test]
fn a_folder_that_does_not_exist_is_refused_and_a_near_name_is_suggested() {
    let load = |name: &str| -> Result<_> { Places::default().load(Some(&name.parse::<Source>()?)) };
    let message = |name: &str| load(name).map(|_| ()).unwrap_err().to_string();
    assert!(message("Fashion_MNIST").contains("did you mean fashion-mnist?"));
    assert!(message("no/such/folder").contains("`no/such/folder`"));
}

#[test]
fn the_synthetic_set_has_no_files() {
    let error = Places::default().folder_of(&Source::Synthetic).unwrap_err();
    assert!(matches!(error, Error::DataBuiltIn), "{error}");
}

#[test]
fn gzipped_and_plain_files_make_the_same_data_set() {
    let root = TempDir::new().unwrap();
    let [gzipped, plain] = ["gzipped", "plain"].map(|name| root.path().join(name));
    write_tiny(&gzipped, 5);
    fs::create_dir(&plain).unwrap();
    for (name, bytes) in FILES.iter().zip(tiny_files(5)) {
        fs::write(plain.join(name), bytes).unwrap();
    }
    let [gzipped, plain] = [gzipped, plain].map(|dir| load_folder("tiny", &dir).unwrap());
    assert_eq!(gzipped.fingerprint, plain.fingerprint);
    assert_eq!(gzipped.train.pixels, plain.train.pixels);
    assert_eq!((plain.rows, plain.cols, plain.classes), (2, 3, 10));
    assert_eq!((plain.train.len(), plain.test.labels), (4, vec![3, 4]));
}

#[test]
fn files_that_do_not_belong_together_are_refused_with_both_counts() {
    let cases = [
        (1, idx(0x801, &[5], &[0; 5]), "4 images", "5 labels"),
        (3, idx(0x801, &[1], &[0; 1]), "2 images", "1 labels"),
        (2, idx(0x803, &[2, 3, 2], &[0; 12]), "images of 2 x 3", "images of 3 x 2"),
    ];
    for (file, bytes, first, second) in cases {
        let root = TempDir::new().unwrap();
        write_tiny(root.path(), 1);
        fs::write(root.path().join(format!("{}.gz", FILES[file])), bytes).unwrap();
        let message = load_folder("tiny", root.path()).unwrap_err().to_string();
        assert!(message.contains(first) && message.contains(second), "{message}");
    }
}

#[test]
fn a_mirrors_file_with_a_wrong_sum_is_refused_and_leaves_nothing_behind() {
    let root = TempDir::new().unwrap();
    let (mirror, requests) = serve(|_| Some(b"<html>please log in</html>".to_vec()));
    let places = Places { cache: Some(root.path().into()), mirror, ..Places::default() };
    let message = places.load(Some(&FASHION)).unwrap_err().to_string();
    let published = Published::FashionMnist.md5()[3];
    assert!(message.contains("MD5") && message.contains(published), "{message}");
    assert_eq!(requests.load(Ordering::SeqCst), 1, "it went on after the first wrong file");
    assert!(files_in(&root.path().join("fashion-mnist")).is_empty());
}

#[test]
fn a_mirror_without_the_files_is_named_with_its_answer() {
    let root = TempDir::new().unwrap();
    let (mirror, _) = serve(|_| None);
    let address = mirror.clone().unwrap();
    let places = Places { cache: Some(root.path().into()), mirror, ..Places::default() };
    let message = places.load(Some(&FASHION)).unwrap_err().to_string();
    assert!(message.contains(&address) && message.contains("404"), "{message}");
}

#[test]
fn a_cache_folder_that_cannot_be_written_is_a_failure_of_the_run() {
    let root = TempDir::new().unwrap();
    let blocked = root.path().join("file");
    fs::write(&blocked, "not a folder").unwrap();
    let cache = Some(blocked.join("cache"));
    let (mirror, _) = serve(|_| Some(vec![1]));
    let places = Places { cache, mirror, ..Places::default() };
    let error = places.load(Some(&FASHION)).unwrap_err();
    assert!(matches!(error, Error::Cache { .. }), "{error}");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn the_real_files_are_fetched_side_by_side_once_and_verified() {
    let Some(real) = real_folder() else { return };
    let root = TempDir::new().unwrap();
    let source = real.clone();
    let (mirror, requests) = serve(move |name| fs::read(source.join(name)).ok());
    let places = Places { cache: Some(root.path().into()), mirror, ..Places::default() };
    // A fetch that was cut short left one file; only the others are asked for.
    let folder = root.path().join("fashion-mnist");
    fs::create_dir_all(&folder).unwrap();
    let labels = format!("{}.gz", FILES[3]);
    fs::copy(real.join(&labels), folder.join(&labels)).unwrap();

    std::thread::scope(|scope| {
        let fetchers = [(); 3].map(|()| scope.spawn(|| places.load(None).unwrap()));
        for fetcher in fetchers {
            let loaded = fetcher.join().unwrap();
            assert_eq!((loaded.dataset.name.as_str(), loaded.note), ("fashion-mnist", None));
        }
    });
    let asked = requests.load(Ordering::SeqCst);
    assert!((3..=9).contains(&asked), "{asked} requests");
    assert_eq!(files_in(&folder), {
        let mut names = FILES.map(|file| format!("{file}.gz"));
        names.sort();
        names
    });
    places.load(Some(&FASHION)).unwrap();
    assert_eq!(requests.load(Ordering::SeqCst), asked, "fetched again");
    verify_folder(&FASHION, folder).unwrap().outcome().unwrap();
}

#[test]
fn the_real_files_hold_what_was_published() {
    let Some(folder) = real_folder() else { return };
    let [first, second] = [(); 2].map(|()| load_folder("fashion-mnist", &folder).unwrap());
    assert_eq!((first.train.len(), first.test.len()), (60_000, 10_000));
    assert_eq!((first.rows, first.cols, first.classes), (28, 28, 10));
    assert_eq!(first.fingerprint, second.fingerprint);
    assert_eq!(first.fingerprint, "xxh3:3aef138041f36007af4ec518b4bf6f8b");
    // The first labels and the mean of the training pixels, as torchvision gives them.
    assert_eq!(first.train.labels[..8], [9, 0, 0, 3, 0, 2, 7, 2]);
    let sum: u64 = first.train.pixels.iter().map(|&pixel| u64::from(pixel)).sum();
    let mean = sum as f64 / first.train.pixels.len() as f64;
    assert!((mean / 255.0 - 0.2860).abs() < 1e-4, "{mean}");
}

#[test]
fn one_data_set_is_not_taken_for_another_where_only_the_content_tells() {
    let Some(folder) = real_folder() else { return };
    let root = TempDir::new().unwrap();
    let places = Places {
        data_dir: Some(folder),
        cache: Some(root.path().into()),
        mirror: dead_mirror(),
        ..Places::default()
    };
    let error = places.load(Some(&Source::Published(Published::Mnist))).unwrap_err();
    assert!(matches!(error, Error::DataNotFound { .. }), "{error}");
    assert!(places.load(Some(&FASHION)).is_ok());
}

#[test]
fn verify_tells_every_file_apart() {
    let root = TempDir::new().unwrap();
    let folder = root.path();
    write_tiny(folder, 1);
    let path = |i: usize| folder.join(format!("{}.gz", FILES[i]));
    let statuses = |source: &Source| {
        let verification = verify_folder(source, folder.into()).unwrap();
        let statuses: Vec<Status> = verification.files.iter().map(|file| file.status).collect();
        (statuses, verification.outcome().map_err(|error| error.to_string()))
    };
    // Readable, but not the published files; in a folder of no name there is nothing to compare.
    let (seen, outcome) = statuses(&FASHION);
    assert_eq!(seen, [Status::Mismatch; 4]);
    assert!(outcome.unwrap_err().contains("4 of the 4 files of fashion-mnist"));
    let (seen, outcome) = statuses(&Source::Folder(folder.into()));
    assert_eq!((seen, outcome), (vec![Status::Readable; 4], Ok(())));

    fs::write(path(0), "damaged").unwrap();
    fs::remove_file(path(1)).unwrap();
    fs::remove_file(path(2)).unwrap();
    fs::write(folder.join(FILES[2]), &tiny_files(1)[2]).unwrap();
    fs::remove_file(path(3)).unwrap();
    fs::create_dir(path(3)).unwrap();
    let (seen, outcome) = statuses(&FASHION);
    assert_eq!(seen, [Status::Damaged, Status::Missing, Status::Readable, Status::Damaged]);
    assert!(outcome.unwrap_err().contains(FILES[1]));
}

#[test]
fn verify_finds_the_published_files_as_they_were_published() {
    let Some(folder) = real_folder() else { return };
    // Without a name, the folder is known by its labels.
    for source in [FASHION, Source::Folder(folder.clone())] {
        let verification = verify_folder(&source, folder.clone()).unwrap();
        assert_eq!(verification.name, "fashion-mnist");
        for file in &verification.files {
            assert_eq!((file.status, file.md5.as_deref()), (Status::Ok, file.expected));
            assert!(file.bytes > 5_000 && file.problem.is_none());
        }
        verification.outcome().unwrap();
    }
}
