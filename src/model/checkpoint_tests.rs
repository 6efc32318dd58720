use super::*;
use crate::model::{Hidden, Init};

fn mlp() -> Architecture {
    let hidden = |units, activation, dropout| Hidden { units, activation, dropout };
    let hidden = vec![
        hidden(5, Activation::Gelu, 0.0),
        hidden(4, Activation::Tanh, 0.2),
        hidden(3, Activation::Relu, 0.0),
    ];
    Architecture { inputs: 6, hidden, classes: 2 }
}

fn softmax() -> Architecture {
    Architecture { inputs: 784, hidden: vec![], classes: 10 }
}

fn saved(folder: &Path, architecture: &Architecture) -> (PathBuf, Parameters) {
    let path = folder.join("model.safetensors");
    let parameters = Parameters::initial(architecture, Init::Default, 3, 4);
    let extra = [("seed".to_string(), "3".to_string())];
    save(&path, architecture, &parameters, &extra).expect("saved");
    (path, parameters)
}

fn refusal(path: &Path) -> String {
    let error = load(path).expect_err("the file was accepted");
    assert_eq!(error.exit_code(), 2);
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    message.replace(&path.display().to_string(), "FILE")
}

#[test]
fn a_model_comes_back_bit_for_bit_with_its_metadata() {
    let folder = tempfile::tempdir().expect("a folder");
    for architecture in [softmax(), mlp()] {
        let (path, parameters) = saved(folder.path(), &architecture);
        let checkpoint = load(&path).expect("loaded");
        assert_eq!(checkpoint.architecture, architecture);
        assert_eq!(checkpoint.parameters, parameters);
        assert_eq!(checkpoint.metadata["seed"], "3");
        assert_eq!(checkpoint.metadata["format"], "pt");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).expect("listed").collect();
    assert_eq!(left.len(), 1, "nothing stays beside the model");
}

#[test]
fn names_shapes_and_expression_are_those_of_nn_sequential() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, _) = saved(folder.path(), &mlp());
    let bytes = fs::read(&path).expect("read");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut found: Vec<(String, Vec<usize>)> =
        file.tensors().iter().map(|(name, view)| (name.clone(), view.shape().to_vec())).collect();
    found.sort();
    let expected = [
        ("0.bias", vec![5]),
        ("0.weight", vec![5, 6]),
        ("2.bias", vec![4]),
        ("2.weight", vec![4, 5]),
        ("5.bias", vec![3]),
        ("5.weight", vec![3, 4]),
        ("7.bias", vec![2]),
        ("7.weight", vec![2, 3]),
    ];
    assert_eq!(found, expected.map(|(name, shape)| (name.to_string(), shape)));
    assert_eq!(
        load(&path).expect("loaded").metadata["pytorch"],
        "nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 4), nn.Tanh(), nn.Dropout(0.2), \
         nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))"
    );
    assert_eq!(pytorch_expression(&softmax()), "nn.Sequential(nn.Linear(784, 10))");
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let folders =
        [tempfile::tempdir(), tempfile::tempdir()].map(|folder| folder.expect("a folder"));
    let bytes =
        folders.each_ref().map(|folder| fs::read(saved(folder.path(), &mlp()).0).expect("read"));
    assert_eq!(bytes[0], bytes[1]);
}

#[test]
fn a_file_cut_at_any_place_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, _) = saved(folder.path(), &mlp());
    let bytes = fs::read(&path).expect("read");
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).expect("written");
        let message = refusal(&path);
        assert!(message.starts_with("FILE is damaged or no safetensors file ("), "{message}");
    }
    fs::write(&path, [&bytes[..], b"x"].concat()).expect("written");
    assert!(refusal(&path).contains("damaged"));
}

#[test]
fn no_changed_byte_of_a_file_makes_the_reader_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, parameters) = saved(folder.path(), &mlp());
    let bytes = fs::read(&path).expect("read");
    let mut refused = 0;
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 0x41;
        fs::write(&path, &changed).expect("written");
        match load(&path) {
            Ok(checkpoint) => {
                assert_eq!(checkpoint.parameters.layers.len(), parameters.layers.len())
            }
            Err(error) => {
                assert!(!error.to_string().contains('\n'), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_model_that_another_program_saved_is_refused_with_what_it_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("foreign.safetensors");
    let header = r#"{"__metadata__":{"format":"pt"},"0.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
    write_raw(&path, header, &[0; 8]);
    assert_eq!(
        refusal(&path),
        "FILE was not written by warpsweep: its metadata has no `architecture`, and it holds 1 \
         tensors, 0.weight F32 [1, 2]; give a file that `--save-model` wrote"
    );
}

fn write_raw(path: &Path, header: &str, values: &[u8]) {
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length[..], header.as_bytes(), values].concat()).expect("written");
}

/// A saved softmax regression of 2 inputs and 2 classes, with some of its text replaced.
fn altered(path: &Path, from: &str, to: &str) {
    let architecture = Architecture { inputs: 2, hidden: vec![], classes: 2 };
    let header = super::header(&architecture, &[]);
    assert!(header.contains(from), "{header}");
    write_raw(path, &header.replace(from, to), &[0; 24]);
}

#[test]
fn a_file_that_contradicts_itself_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    for (from, to, message) in [
        (
            "\"shape\":[2,2]",
            "\"shape\":[1,4]",
            "FILE holds 0.weight of F32 [1, 4] where its architecture needs 0.weight of F32 [2, 2]; give a file that `--save-model` wrote",
        ),
        (
            "\"0.bias\"",
            "\"1.bias\"",
            "FILE holds 2 tensors, 0.weight F32 [2, 2], 1.bias F32 [2] where its architecture needs 0.bias of F32 [2]; give a file that `--save-model` wrote",
        ),
        (
            "\\\"inputs\\\":2",
            "\\\"inputs\\\":0",
            "FILE has metadata `architecture` that is no model: a size is 0 or absurdly large; give a file that `--save-model` wrote",
        ),
        (
            "\\\"inputs\\\":2",
            "\\\"inputs\\\":18446744073709551615",
            "FILE has metadata `architecture` that is no model: a size is 0 or absurdly large; give a file that `--save-model` wrote",
        ),
        (
            "\\\"hidden\\\":[]",
            "\\\"hidden\\\":[{\\\"units\\\":2,\\\"activation\\\":\\\"relu\\\",\\\"dropout\\\":1.5}]",
            "FILE has metadata `architecture` that is no model: a dropout is 1.5, not in [0, 1); give a file that `--save-model` wrote",
        ),
        (
            "\\\"hidden\\\":[]",
            "\\\"hidden\\\":[{\\\"units\\\":2,\\\"activation\\\":\\\"relu\\\",\\\"dropout\\\":0.5}]",
            "FILE holds 2 tensors, 0.bias F32 [2], 0.weight F32 [2, 2] where its architecture needs 4 tensors; give a file that `--save-model` wrote",
        ),
        (
            "\\\"classes\\\":2",
            "\\\"classes\\\":[]",
            "FILE has metadata `architecture` that is no model: invalid type: sequence, expected usize",
        ),
    ] {
        altered(&path, from, to);
        let refusal = refusal(&path);
        assert!(refusal.starts_with(message), "{refusal}");
    }
}

#[test]
fn a_weight_that_is_not_a_number_is_refused_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let architecture = Architecture { inputs: 2, hidden: vec![], classes: 2 };
    let mut parameters = Parameters::initial(&architecture, Init::Zeros, 0, 0);
    parameters.layers[0].bias[1] = f32::NAN;
    save(&path, &architecture, &parameters, &[]).expect("saved");
    assert_eq!(
        refusal(&path),
        "FILE has NaN at position 1 of 0.bias, which is not a finite number; give a file that \
         `--save-model` wrote"
    );
}

#[test]
fn what_is_no_file_is_refused_for_reading_and_writing() {
    let folder = tempfile::tempdir().expect("a folder");
    let message = refusal(folder.path());
    assert_eq!(
        message,
        "FILE is a folder, expected a safetensors file; give a file that `--save-model` wrote"
    );
    assert!(refusal(&folder.path().join("absent")).starts_with("cannot read FILE: No such file"));
    let parameters = Parameters::initial(&softmax(), Init::Zeros, 0, 0);
    for path in [folder.path().to_path_buf(), folder.path().join("absent/model"), PathBuf::new()] {
        let error = save(&path, &softmax(), &parameters, &[]).expect_err("refused");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("cannot write "), "{error}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).expect("listed").collect();
    assert!(left.is_empty(), "a refused model leaves nothing behind");
}
