use super::*;

fn space(arguments: &[&str]) -> Space {
    try_space(arguments).unwrap_or_else(|error| panic!("{error}"))
}

fn try_space(arguments: &[&str]) -> crate::Result<Space> {
    let arguments: Vec<String> = arguments.iter().map(|text| text.to_string()).collect();
    Space::from_arguments(&arguments)
}

fn refusal(arguments: &[&str]) -> String {
    match try_space(arguments) {
        Ok(space) => panic!("{space:?} was accepted"),
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        }
    }
}

/// 20,000 draws of the one parameter of a space, with a fixed seed.
fn draws(argument: &str) -> Vec<Value> {
    let space = space(&[argument]);
    (0..20_000).map(|trial| space.sample(11, trial).0.remove(0).1).collect()
}

fn numbers(argument: &str) -> Vec<f64> {
    draws(argument).iter().map(|value| value.number().expect("a number")).collect()
}

/// The Kolmogorov-Smirnov distance between draws and a cumulative distribution function. For
/// 20,000 draws, 0.0138 is passed by chance once in 1,000 times, and the seed is fixed.
fn distance(mut values: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let gaps = values.iter().enumerate().map(|(i, &value)| {
        let below = cdf(value);
        (below - i as f64 / n).abs().max(((i + 1) as f64 / n - below).abs())
    });
    gaps.fold(0.0, f64::max)
}

fn counts(argument: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for value in draws(argument) {
        *counts.entry(value.to_string()).or_default() += 1;
    }
    counts
}

/// Whether counts of 20,000 draws are those of equally likely values: within five deviations.
fn assert_even(counts: &BTreeMap<String, usize>, values: &[&str]) {
    assert_eq!(counts.keys().collect::<BTreeSet<_>>().len(), values.len(), "{counts:?}");
    let share = 1.0 / values.len() as f64;
    let (mean, deviation) = (20_000.0 * share, (20_000.0 * share * (1.0 - share)).sqrt());
    for value in values {
        let count = *counts.get(*value).unwrap_or(&0) as f64;
        assert!((count - mean).abs() < 5.0 * deviation, "{value}: {counts:?}");
    }
}

#[test]
fn uniform_draws_are_uniform_and_come_near_both_bounds() {
    let values = numbers("x=uniform(-3,5)");
    assert!(values.iter().all(|v| (-3.0..=5.0).contains(v)));
    assert!(values.iter().any(|v| *v < -2.99) && values.iter().any(|v| *v > 4.99));
    let d = distance(values, |v| (v + 3.0) / 8.0);
    assert!(d < 0.0138, "distance {d}");
}

#[test]
fn uniform_draws_over_all_numbers_do_not_overflow() {
    let values = numbers("x=uniform(-1.7e308,1.7e308)");
    assert!(values.iter().all(|v| v.is_finite()));
    assert!(values.iter().any(|v| *v < -1.6e308) && values.iter().any(|v| *v > 1.6e308));
}

#[test]
fn loguniform_draws_are_uniform_in_the_logarithm() {
    let values = numbers("x=loguniform(1e-6,1e-1)");
    assert!(values.iter().all(|v| (1e-6..=1e-1).contains(v)));
    assert!(values.iter().any(|v| *v < 1.01e-6) && values.iter().any(|v| *v > 0.99e-1));
    let d = distance(values, |v| (v.log10() + 6.0) / 5.0);
    assert!(d < 0.0138, "distance {d}");
}

#[test]
fn randint_gives_both_bounds_and_all_between_equally_often() {
    assert_even(&counts("x=randint(-1,4)"), &["-1", "0", "1", "2", "3", "4"]);
}

#[test]
fn randint_spans_all_whole_numbers() {
    let values = draws("x=randint(-9223372036854775808,9223372036854775807)");
    let negative = values.iter().filter(|v| matches!(v, Value::Int(i) if *i < 0)).count();
    assert!((9_600..10_400).contains(&negative), "{negative}");
}

#[test]
fn lograndint_gives_each_whole_number_the_logarithm_of_its_own_half_open_interval() {
    let counts = counts("x=lograndint(1,8)");
    for k in 1..=8 {
        let k_share = ((f64::from(k) + 0.5) / (f64::from(k) - 0.5)).ln() / (8.5f64 / 0.5).ln();
        let mean = 20_000.0 * k_share;
        let count = counts[&k.to_string()] as f64;
        assert!((count - mean).abs() < 5.0 * mean.sqrt(), "{k}: {count} for {mean}");
    }
    assert_eq!(counts.len(), 8);
}

#[test]
fn quniform_gives_the_multiples_of_q_equally_often_and_spelled_shortly() {
    let values = ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"];
    assert_even(&counts("x=quniform(0.1,0.7,0.1)"), &values);
    assert_even(&counts("x=quniform(8,32,8)"), &["8.0", "16.0", "24.0", "32.0"]);
}

#[test]
fn a_step_starts_from_low() {
    let distribution = Distribution::Int { low: 5, high: 15, log: false, step: 5 };
    let mut stream = Stream::new(1, Purpose::Config(0), 0);
    let seen: BTreeSet<String> =
        (0..200).map(|_| distribution.draw(&mut stream).to_string()).collect();
    assert_eq!(seen, ["10", "15", "5"].map(String::from).into());
}

#[test]
fn choices_come_equally_often() {
    assert_even(&counts("x=choice(relu,16,0.5,true)"), &["relu", "16", "0.5", "true"]);
}

#[test]
fn normal_draws_are_normal() {
    let cdf = |z: f64| (1.0 + libm::erf(z / 2f64.sqrt())) / 2.0;
    let d = distance(numbers("x=normal(3,0.5)"), |v| cdf((v - 3.0) / 0.5));
    assert!(d < 0.0138, "distance {d}");
    let d = distance(numbers("x=lognormal(-2,0.7)"), |v| cdf((v.ln() + 2.0) / 0.7));
    assert!(d < 0.0138, "lognormal: distance {d}");
}

#[test]
fn a_range_of_one_value_gives_that_value() {
    for (argument, value) in [
        ("x=uniform(0.1,0.1)", "0.1"),
        ("x=loguniform(0.001,0.001)", "0.001"),
        ("x=randint(7,7)", "7"),
        ("x=lograndint(7,7)", "7"),
        ("x=quniform(0.5,0.5,0.5)", "0.5"),
        ("x=choice(relu)", "relu"),
    ] {
        let counts = counts(argument);
        assert_eq!(counts.keys().collect::<Vec<_>>(), [value], "{argument}");
    }
}

#[test]
fn a_bare_scalar_is_a_fixed_value_of_its_kind() {
    for (text, value) in [
        ("0.1", Value::Float(0.1)),
        ("1e-3", Value::Float(1e-3)),
        ("16", Value::Int(16)),
        ("true", Value::Bool(true)),
        ("relu", Value::Text("relu".into())),
        (" 'two words' ", Value::Text("two words".into())),
        ("\"16\"", Value::Text("16".into())),
    ] {
        let config = space(&[&format!("x={text}")]).sample(0, 0);
        assert_eq!(config.get("x"), Some(&value), "{text}");
    }
}

/// These values may never change: studies on disk were drawn with them. Learning rate, batch size
/// and momentum were computed by hand in Python from Philox and FNV-1a as well.
#[test]
fn the_first_configs_of_seed_0_are_the_known_ones() {
    let space = space(&[
        "learning_rate=loguniform(1e-6,1e-1)",
        "batch_size=lograndint(8,256)",
        "momentum=uniform(0,0.99)",
        "activation=choice(tanh,relu)",
        "layers=randint(1,6)",
        "weight_decay=lognormal(-8,1)",
        "label_smoothing=quniform(0,0.3,0.1)",
    ]);
    let drawn = [0, 1, 4_294_967_295]
        .map(|trial| serde_json::to_string(&space.sample(0, trial)).expect("JSON"));
    let known = [
        r#"{"learning_rate":0.0000199107087554817,"batch_size":37,"momentum":0.5387659500832048,"activation":"relu","layers":2,"weight_decay":0.0008548202762819688,"label_smoothing":0.3}"#,
        r#"{"learning_rate":0.00009190281899537056,"batch_size":81,"momentum":0.34555417747271994,"activation":"relu","layers":4,"weight_decay":0.0008158212579766469,"label_smoothing":0.2}"#,
        r#"{"learning_rate":0.0016242237166049348,"batch_size":39,"momentum":0.4119495671977785,"activation":"relu","layers":2,"weight_decay":0.00020971445553541663,"label_smoothing":0.3}"#,
    ];
    assert_eq!(drawn, known);
}

#[test]
fn a_parameter_keeps_its_values_when_others_are_added_or_reordered() {
    let alone = space(&["units=lograndint(32,1024)"]);
    let among =
        space(&["layers=randint(1,6)", "units=lograndint(32,1024)", "momentum=uniform(0,1)"]);
    for trial in 0..100 {
        assert_eq!(alone.sample(5, trial).get("units"), among.sample(5, trial).get("units"));
    }
}

#[test]
fn parameters_seeds_and_trials_are_independent() {
    let space = space(&["a=uniform(0,1)", "b=uniform(0,1)"]);
    let series = |seed, name: &str, first: u32| -> Vec<f64> {
        (first..first + 20_000)
            .map(|trial| {
                space.sample(seed, trial).get(name).and_then(Value::number).expect("drawn")
            })
            .collect()
    };
    let base = series(1, "a", 0);
    for other in [series(1, "b", 0), series(2, "a", 0), series(1, "a", 1)] {
        let products = base.iter().zip(&other).map(|(x, y)| (x - 0.5) * (y - 0.5));
        let correlation = products.sum::<f64>() / 20_000.0 * 12.0;
        assert!(correlation.abs() < 0.035, "correlation {correlation}");
    }
}

#[test]
fn two_names_of_one_stream_number_get_streams_of_their_own() {
    let mut seen: HashMap<u16, String> = HashMap::new();
    let (first, second) = (0..)
        .map(|i| format!("p{i}"))
        .find_map(|name| Some((seen.insert(stream_number(&name), name.clone())?, name)))
        .expect("names without end share numbers");
    let numbers = streams([second.as_str(), first.as_str()].into_iter());
    assert_ne!(numbers[first.as_str()], numbers[second.as_str()]);
    assert_eq!(numbers, streams([first.as_str(), second.as_str()].into_iter()));
}

#[test]
fn stream_numbers_are_folded_fnv_1a() {
    // FNV-1a of 32 bits: "" is 811c9dc5, "a" is e40c292c, "foobar" is bf9cf968.
    assert_eq!(stream_number(""), 0x811c ^ 0x9dc5);
    assert_eq!(stream_number("a"), 0xe40c ^ 0x292c);
    assert_eq!(stream_number("foobar"), 0xbf9c ^ 0xf968);
}

#[test]
fn a_conditional_parameter_is_there_exactly_when_its_condition_holds() {
    let space = space(&[
        "units_3=lograndint(32,1024) if layers>=3",
        "layers=randint(1,6)",
        "dropout_3=uniform(0,0.5) if units_3 < 100",
        "activation=choice(relu,tanh)",
        "momentum=uniform(0,1) if activation != relu",
        "nesterov=true if momentum > 0.5",
    ]);
    let mut absent = 0;
    for trial in 0..500 {
        let config = space.sample(3, trial);
        let number = |name| config.get(name).and_then(Value::number);
        assert_eq!(number("units_3").is_some(), number("layers") >= Some(3.0));
        assert_eq!(number("dropout_3").is_some(), number("units_3").is_some_and(|u| u < 100.0));
        let tanh = config.get("activation") == Some(&Value::Text("tanh".into()));
        assert_eq!(number("momentum").is_some(), tanh);
        assert_eq!(config.get("nesterov").is_some(), number("momentum") > Some(0.5));
        let order = config.0.iter().map(|(name, _)| {
            space.parameters().iter().position(|parameter| parameter.name == *name)
        });
        assert!(order.is_sorted(), "names stand in the order of the space");
        absent += usize::from(config.0.len() < 6);
    }
    assert!((1..500).contains(&absent));
}

#[test]
fn every_operator_compares_numbers_as_numbers() {
    for (sign, holds) in [
        ("==", [false, true, false]),
        ("!=", [true, false, true]),
        ("<=", [true, true, false]),
        (">=", [false, true, true]),
        ("<", [true, false, false]),
        (">", [false, false, true]),
    ] {
        let condition = spelling::condition(&format!("layers{sign}3.0")).expect("a condition");
        assert_eq!([2, 3, 4].map(|layers| condition.holds(&Value::Int(layers))), holds, "{sign}");
    }
}

#[test]
fn a_space_survives_json_exactly() {
    let space = space(&[
        "learning_rate=loguniform(1.2345678901234567e-5,0.1)",
        "units=lograndint(32,1024) if layers>=1",
        "layers=2",
        "weight_decay=normal(0,0.30000000000000004)",
        "x=choice(1,1.5,relu,true)",
        "y=quniform(0,1,0.25) if x == relu",
        "z=lognormal(1,2)",
    ]);
    let text = serde_json::to_string(&space).expect("JSON");
    assert_eq!(serde_json::from_str::<Space>(&text).expect("a space"), space);
    let text = text.replace(r#""parent":"layers""#, r#""parent":"units""#);
    let refusal = serde_json::from_str::<Space>(&text).expect_err("a circle").to_string();
    assert!(refusal.contains("units depends on units"), "{refusal}");
}

#[test]
fn each_mistake_on_the_command_line_gets_its_one_line() {
    for (arguments, message) in [
        (
            &["learning_rate=loguniform(0,1)"][..],
            r#"parameter "learning_rate=loguniform(0,1)": a logarithmic range needs low > 0, but low is 0.0; use a small one such as 1e-6"#,
        ),
        (
            &["x=lograndint(0,8)"],
            r#"parameter "x=lograndint(0,8)": a logarithmic range needs low > 0, but low is 0; use a small one such as 1"#,
        ),
        (
            &["x=uniform(2,1)"],
            r#"parameter "x=uniform(2,1)": low 2.0 is above high 1.0; exchange them"#,
        ),
        (
            &["x=randint(9,-9)"],
            r#"parameter "x=randint(9,-9)": low 9 is above high -9; exchange them"#,
        ),
        (
            &["x=uniform(0,nan)"],
            r#"parameter "x=uniform(0,nan)": high is NaN, which is not a finite number; give a finite one"#,
        ),
        (
            &["x=uniform(-inf,0)"],
            r#"parameter "x=uniform(-inf,0)": low is -inf, which is not a finite number; give a finite one"#,
        ),
        (
            &["x=NaN"],
            r#"parameter "x=NaN": the value is NaN, which is not a finite number; give a finite one"#,
        ),
        (
            &["x=choice(1,inf)"],
            r#"parameter "x=choice(1,inf)": a choice is inf, which is not a finite number; give a finite one"#,
        ),
        (
            &["x=logunifrom(1,2)"],
            r#"parameter "x=logunifrom(1,2)": unknown distribution `logunifrom` (did you mean loguniform?); known are uniform, loguniform, randint, lograndint, quniform, choice, normal, lognormal"#,
        ),
        (
            &["x=uniform(1)"],
            r#"parameter "x=uniform(1)": the number of arguments is 1; write uniform(low,high)"#,
        ),
        (
            &["x=quniform(0,1)"],
            r#"parameter "x=quniform(0,1)": the number of arguments is 2; write quniform(low,high,q)"#,
        ),
        (
            &["x=quniform(1,10,4)"],
            r#"parameter "x=quniform(1,10,4)": 1 or 10 is no multiple of q = 4; use quniform(4, 8, 4)"#,
        ),
        (
            &["x=quniform(1,2,0)"],
            r#"parameter "x=quniform(1,2,0)": step is 0.0; use one above 0, with no more than 9e15 of them from low to high"#,
        ),
        (
            &["x=quniform(1,2,10)"],
            r#"parameter "x=quniform(1,2,10)": no multiple of q = 10 lies between 1 and 2; use a smaller q"#,
        ),
        (&["x=choice()"], r#"parameter "x=choice()": there are no choices; list at least one"#),
        (
            &["x=choice(a,b,a)"],
            r#"parameter "x=choice(a,b,a)": the choice a stands there twice; keep one"#,
        ),
        (
            &["x=randint(1,2.5)"],
            r#"parameter "x=randint(1,2.5)": high is 2.5, expected a whole number; give one"#,
        ),
        (
            &["x=uniform(a,1)"],
            r#"parameter "x=uniform(a,1)": low is a, expected a number; give one"#,
        ),
        (&["x=normal(0,0)"], r#"parameter "x=normal(0,0)": sd is 0; use one above 0"#),
        (
            &["x=lognormal(0,100)"],
            r#"parameter "x=lognormal(0,100)": mean 0 and sd 100 reach beyond the numbers; a draw is within mean +- 10 sd of its logarithm"#,
        ),
        (&["x=1", "x=2"], r#"parameter "x": x stands there twice; keep one"#),
        (
            &["x"],
            r#"parameter "x": it has no value; write name=value, such as batch_size=16 or units=randint(32,64)"#,
        ),
        (
            &["=1"],
            r#"parameter "=1": `` is not a name; use letters, digits and `_`, not beginning with a digit"#,
        ),
        (
            &["3x=1"],
            r#"parameter "3x=1": `3x` is not a name; use letters, digits and `_`, not beginning with a digit"#,
        ),
        (
            &["x="],
            r#"parameter "x=": found the end at column 3, expected a value or a distribution such as uniform(0,1); mend it there"#,
        ),
        (
            &["x=0.1.2"],
            r#"parameter "x=0.1.2": found "0.1.2" at column 3, expected a value or a distribution such as uniform(0,1); mend it there"#,
        ),
        (
            &["x=uniform(1,2"],
            r#"parameter "x=uniform(1,2": found the end at column 14, expected `,` or `)`; mend it there"#,
        ),
        (
            &["é=ü"],
            r#"parameter "é=ü": `é` is not a name; use letters, digits and `_`, not beginning with a digit"#,
        ),
        (
            &["x=choice(ü,§)"],
            r#"parameter "x=choice(ü,§)": found "§)" at column 12, expected a value; mend it there"#,
        ),
        (
            &["x='a"],
            r#"parameter "x='a": found "'a" at column 3, expected a closing quote; mend it there"#,
        ),
        (
            &["x=1 2"],
            r#"parameter "x=1 2": found "2" at column 5, expected the end, or ` if ` and a condition; mend it there"#,
        ),
        (
            &["x=1 if"],
            r#"parameter "x=1 if": found the end at column 7, expected a parameter's name, as in layers >= 3; mend it there"#,
        ),
        (
            &["x=1 if y = 3"],
            r#"parameter "x=1 if y = 3": found "= 3" at column 10, expected one of == != < <= > >=; mend it there"#,
        ),
        (
            &["x=1 if y>"],
            r#"parameter "x=1 if y>": found the end at column 10, expected a value to compare with; mend it there"#,
        ),
        (
            &["x=1 if layer>1", "layers=2"],
            r#"parameter "x": its condition `layer > 1` refers to layer, which is not in the space (did you mean layers?); add it"#,
        ),
        (
            &["x=1 if y==rleu", "y=choice(relu,tanh)"],
            r#"parameter "x": its condition `y == rleu` can never be decided: y is choice(relu,tanh)"#,
        ),
        (
            &["x=1 if y>=relu", "y=choice(relu,tanh)"],
            r#"parameter "x": its condition `y >= relu` can never be decided: y is choice(relu,tanh)"#,
        ),
        (
            &["x=1 if y==a", "y=uniform(0,1)"],
            r#"parameter "x": its condition `y == a` can never be decided: y is uniform(0.0,1.0)"#,
        ),
        (
            &["x=randint(1,2) if y>1", "y=randint(1,2) if z>1", "z=randint(1,2) if y>1"],
            r#"parameter "x": conditions run in a circle, x depends on y depends on z depends on y; break it"#,
        ),
    ] {
        assert_eq!(refusal(arguments), message);
    }
}

#[test]
fn no_text_makes_the_reader_panic() {
    let pieces =
        ["x", "=", "uniform", "(", ")", ",", "1", "-", "é", "'", "\"", " if ", ">=", "\n", "e"];
    for seed in 0..3_000u32 {
        let stream = Stream::new(1, Purpose::Synthetic(0), seed);
        let text: String =
            (0..12).map(|i| pieces[stream.word(i) as usize % pieces.len()]).collect();
        let result = try_space(&[&format!("x={text}")]);
        if let Err(error) = result {
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}
