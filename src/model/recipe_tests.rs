use super::*;

fn space(arguments: &[&str]) -> Space {
    let arguments: Vec<String> = arguments.iter().map(|text| text.to_string()).collect();
    Space::from_arguments(&arguments).unwrap_or_else(|error| panic!("{error}"))
}

fn recipe(arguments: &[&str]) -> Recipe {
    let config = space(arguments).sample(0, 0);
    Recipe::from_config(&config, &Defaults::default(), 784, 10).unwrap_or_else(|e| panic!("{e}"))
}

fn refusal(arguments: &[&str]) -> String {
    let error = check_space(&space(arguments)).expect_err(&format!("{arguments:?} was accepted"));
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn an_empty_config_is_softmax_regression_with_the_defaults() {
    let recipe = recipe(&[]);
    assert_eq!(recipe.architecture, Architecture { inputs: 784, hidden: vec![], classes: 10 });
    let expected = Hyperparameters {
        learning_rate: 0.1,
        lr_schedule: LrSchedule::Constant,
        batch_size: 16,
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
        label_smoothing: 0.0,
        init: Init::Default,
    };
    assert_eq!((recipe.hyperparameters, recipe.epochs), (expected, 8));
}

#[test]
fn every_hyperparameter_reaches_its_place() {
    let recipe = recipe(&[
        "learning_rate=1e-3",
        "batch_size=32.0",
        "momentum=0.9",
        "nesterov=true",
        "weight_decay=1e-4",
        "activation=tanh",
        "layers=3",
        "units=64",
        "units_2=100",
        "dropout=0.5",
        "dropout_3=0",
        "activation_1=gelu",
        "lr_schedule=cosine",
        "label_smoothing=0.1",
        "init=zeros",
    ]);
    let hidden = |units, activation, dropout| Hidden { units, activation, dropout };
    let layers = vec![
        hidden(64, Activation::Gelu, 0.5),
        hidden(100, Activation::Tanh, 0.5),
        hidden(64, Activation::Tanh, 0.0),
    ];
    assert_eq!(recipe.architecture.hidden, layers);
    let expected = Hyperparameters {
        learning_rate: 1e-3,
        lr_schedule: LrSchedule::Cosine,
        batch_size: 32,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 1e-4,
        label_smoothing: 0.1,
        init: Init::Zeros,
    };
    assert_eq!(recipe.hyperparameters, expected);
}

#[test]
fn every_word_means_what_it_says() {
    for (word, activation) in ACTIVATIONS {
        let recipe = recipe(&["layers=1", &format!("activation={word}")]);
        let hidden = Hidden { units: DEFAULT_UNITS, activation, dropout: 0.0 };
        assert_eq!(recipe.architecture.hidden, [hidden]);
        assert_eq!(serde_json::to_value(activation).expect("JSON"), word);
    }
    for (word, schedule) in SCHEDULES {
        let recipe = recipe(&[&format!("lr_schedule={word}")]);
        assert_eq!(recipe.hyperparameters.lr_schedule, schedule);
    }
    let words = |name| match lookup(name) {
        Some((Domain::Word(words), None)) => words.to_vec(),
        other => panic!("{name} is {other:?}"),
    };
    assert_eq!(words("activation"), ACTIVATIONS.map(|(word, _)| word));
    assert_eq!(words("lr_schedule"), SCHEDULES.map(|(word, _)| word));
    assert_eq!(words("init"), INITS.map(|(word, _)| word));
}

#[test]
fn no_two_hyperparameters_share_a_stream_of_random_numbers() {
    let names = hyperparameter_names();
    assert_eq!(names.len(), 12 + 18);
    let numbers: std::collections::BTreeSet<u16> =
        names.iter().map(|name| crate::space::stream_number(name)).collect();
    assert_eq!(numbers.len(), names.len());
}

#[test]
fn nesterov_without_momentum_in_one_draw_is_plain_sgd() {
    let arguments = ["momentum=choice(0,0.9)", "nesterov=true"];
    check_space(&space(&arguments)).expect("momentum can be above 0");
    let config = Config(vec![
        ("momentum".into(), Value::Float(0.0)),
        ("nesterov".into(), Value::Bool(true)),
    ]);
    let recipe = Recipe::from_config(&config, &Defaults::default(), 4, 2).expect("a recipe");
    assert!(!recipe.hyperparameters.nesterov);
}

#[test]
fn the_chapters_space_is_accepted_and_each_of_its_configs_has_a_recipe() {
    let space = space(&[
        "learning_rate=loguniform(1e-6,1e-1)",
        "batch_size=lograndint(8,256)",
        "momentum=uniform(0,0.99)",
        "activation=choice(tanh,relu)",
        "units=lograndint(32,1024)",
        "layers=randint(1,6)",
        "units_6=quniform(32,64,16) if layers>=6",
        "dropout_3=uniform(0,0.5) if layers>=3",
        "weight_decay=lognormal(-8,1)",
        "label_smoothing=normal(0.1,0.005)",
    ]);
    check_space(&space).unwrap_or_else(|error| panic!("{error}"));
    for trial in 0..1_000 {
        let config = space.sample(2, trial);
        let recipe = Recipe::from_config(&config, &Defaults::default(), 784, 10);
        let layers = config.get("layers").and_then(Value::whole);
        let depth = recipe.expect("a recipe").architecture.hidden.len();
        assert_eq!(layers, Some(depth as i64));
    }
}

#[test]
fn a_space_that_a_model_cannot_follow_is_refused_before_any_trial() {
    for (arguments, message) in [
        (
            &["learning_rat=0.1"][..],
            "unknown hyperparameter learning_rat (did you mean learning_rate?); known are learning_rate, batch_size, momentum, nesterov, weight_decay, activation, layers, units, dropout, lr_schedule, label_smoothing, init; a layer's own are units_1, dropout_1, activation_1 to _6",
        ),
        (
            &["learning_rate=0"],
            "learning_rate is 0, expected a number above 0; give it such a value",
        ),
        (
            &["learning_rate=1e-60"],
            "learning_rate is 1e-60, expected a number above 0; give it such a value",
        ),
        (
            &["learning_rate=1e60"],
            "learning_rate is 1e60, expected a number above 0; give it such a value",
        ),
        (
            &["learning_rate=uniform(0,1)"],
            "learning_rate=uniform(0.0,1.0) can give 0.0, expected a number above 0; narrow its range",
        ),
        (
            &["learning_rate=normal(0.1,0.01)"],
            "learning_rate=normal(0.1,0.01) can give 0.0, expected a number above 0; draws reach mean +- 10 sd: use a smaller sd, lognormal or uniform",
        ),
        (
            &["batch_size=randint(0,8)"],
            "batch_size=randint(0,8) can give 0, expected a whole number from 1 to 65536; narrow its range",
        ),
        (
            &["batch_size=choice(16,big)"],
            "batch_size=choice(16,big) can give big, expected a whole number from 1 to 65536; narrow its range",
        ),
        (
            &["batch_size=uniform(8,64)"],
            "batch_size=uniform(8.0,64.0) gives numbers with a fraction, expected a whole number from 1 to 65536; use randint, lograndint, choice, or quniform with a whole q",
        ),
        (
            &["batch_size=quniform(8,9,0.5)"],
            "batch_size=uniform(8.0,9.0) in steps of 0.5 gives numbers with a fraction, expected a whole number from 1 to 65536; use randint, lograndint, choice, or quniform with a whole q",
        ),
        (
            &["batch_size=lograndint(8,70000)"],
            "batch_size=lograndint(8,70000) can give 70000, expected a whole number from 1 to 65536; narrow its range",
        ),
        (
            &["momentum=uniform(0,1)"],
            "momentum=uniform(0.0,1.0) can give 1.0, expected a number from 0 to below 1; narrow its range",
        ),
        (
            &["momentum=0.999999999999"],
            "momentum is 0.999999999999, expected a number from 0 to below 1; give it such a value",
        ),
        (
            &["momentum=high"],
            "momentum is high, expected a number from 0 to below 1; give it such a value",
        ),
        (
            &["weight_decay=uniform(-1,1)"],
            "weight_decay=uniform(-1.0,1.0) can give -1.0, expected a number of 0 or more; narrow its range",
        ),
        (
            &["layers=randint(1,7)"],
            "layers=randint(1,7) can give 7, expected a whole number from 0 to 6; narrow its range",
        ),
        (
            &["layers=1", "dropout=1"],
            "dropout is 1, expected a number from 0 to below 1; give it such a value",
        ),
        (
            &["layers=1", "activation=choice(relu,swish)"],
            "activation=choice(relu,swish) can give swish, expected one of relu, tanh, sigmoid, gelu; narrow its range",
        ),
        (
            &["layers=1", "units=8193"],
            "units is 8193, expected a whole number from 1 to 8192; give it such a value",
        ),
        (
            &["layers=randint(1,4)", "units_5=64"],
            "units_5 would never be used: layers is 4 at most; add layers, such as layers=5, or drop units_5",
        ),
        (
            &["activation=choice(tanh,relu)"],
            "activation would never be used: layers is 0 at most; add layers, such as layers=1, or drop activation",
        ),
        (
            &["layers=6", "units_7=64"],
            "unknown hyperparameter units_7 (did you mean units_6?); known are",
        ),
        (
            &["layers=6", "units_01=64"],
            "unknown hyperparameter units_01 (did you mean units_1?); known are",
        ),
        (
            &["nesterov=1", "momentum=0.9"],
            "nesterov is 1, expected true or false; give it such a value",
        ),
        (
            &["nesterov=true"],
            "nesterov=true needs momentum above 0, as in PyTorch; add momentum, such as momentum=0.9",
        ),
        (
            &["nesterov=choice(true,false)", "momentum=0"],
            "nesterov=true needs momentum above 0, as in PyTorch; add momentum, such as momentum=0.9",
        ),
        (&["init=ones"], "init is ones, expected one of default, zeros; give it such a value"),
        (
            &["label_smoothing=1"],
            "label_smoothing is 1, expected a number from 0 to below 1; give it such a value",
        ),
        (
            &["lr_schedule=linear"],
            "lr_schedule is linear, expected one of constant, cosine, step; give it such a value",
        ),
    ] {
        let refusal = refusal(arguments);
        assert!(refusal.starts_with(message), "{refusal}");
        assert!(!refusal.contains('\n') && refusal.contains(';'), "{refusal}");
    }
}

#[test]
fn a_config_with_a_value_out_of_range_is_refused() {
    let config = Config(vec![("dropout_2".into(), Value::Float(1.0))]);
    let error = Recipe::from_config(&config, &Defaults::default(), 4, 2).expect_err("refused");
    let message = "dropout_2 is 1.0, expected a number from 0 to below 1; give it such a value";
    assert_eq!(error.to_string(), message);
    let defaults = Defaults { batch_size: 0, ..Defaults::default() };
    let error = Recipe::from_config(&Config::default(), &defaults, 4, 2).expect_err("refused");
    assert!(error.to_string().starts_with("batch_size is 0,"), "{error}");
}

#[test]
fn a_space_without_parameters_is_accepted_and_gives_the_defaults() {
    check_space(&space(&[])).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(space(&[]).sample(0, 7), Config::default());
}
