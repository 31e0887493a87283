# SPDX-License-Identifier: Apache-2.0
"""Models as skl2onnx exports them: do they load, answer as ONNX Runtime does, and adapt?

    python3 tests/zoo_sklearn.py [--ttad build/release/ttad] [--only LogisticRegression]
                                 [--write docs/zoo.md] [--keep build/zoo]

Needs scikit-learn, skl2onnx and onnxruntime; without them it says what is missing and does nothing.
Each classifier is fitted to two classes, and to three, and converted with skl2onnx' defaults.  Asked
are a frozen pass, whose softmax is held to the probabilities of ONNX Runtime, or its logits to the
scores where there are only these; and two steps of Tent on weights and biases of products, held,
where the model is linear or a perceptron of three classes, to steps by finite differences of the
entropy in float64.  What is refused is to say why.  Exits with 1 if it is otherwise.
"""

import argparse
import datetime
import pathlib
import sys
import warnings

import numpy as np
import zoo

BEGIN = "<!-- tests/zoo_sklearn.py writes from here -->"
ROWS = 64
FEATURES = 8
RATE = 0.05
DRIFT = 1e-3
TENT = f"""version: 1
preset: tent
select: {{kinds: [linear], members: [weight, bias]}}
optimizer: {{kind: sgd, lr: {RATE}, momentum: 0}}
"""


def classifiers():
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_selection import SelectKBest
    from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
    from sklearn.svm import SVC, LinearSVC

    logistic = lambda: LogisticRegression(C=.1)
    return {
        "LogisticRegression": logistic,
        "StandardScaler, LogisticRegression": lambda: make_pipeline(StandardScaler(), logistic()),
        "MinMaxScaler, PCA, LogisticRegression":
            lambda: make_pipeline(MinMaxScaler(), PCA(4), logistic()),
        "Normalizer, LogisticRegression": lambda: make_pipeline(Normalizer(), logistic()),
        "LogisticRegression, one against the rest": lambda: OneVsRestClassifier(logistic()),
        "LinearDiscriminantAnalysis": LinearDiscriminantAnalysis,
        "SGDClassifier, log loss": lambda: make_pipeline(
            StandardScaler(), SGDClassifier(loss="log_loss", alpha=.1, random_state=0)),
        "SGDClassifier, hinge": lambda: make_pipeline(
            StandardScaler(), SGDClassifier(alpha=.1, random_state=0)),
        "LinearSVC": lambda: LinearSVC(C=.01),
        "RidgeClassifier": RidgeClassifier,
        "MLPClassifier": lambda: MLPClassifier((16,), max_iter=50, random_state=0),
        "SelectKBest, StandardScaler, MLPClassifier": lambda: make_pipeline(
            SelectKBest(k=5), StandardScaler(), MLPClassifier((8, 8), max_iter=50, random_state=0)),
        "GaussianNB": GaussianNB,
        "MLPRegressor": lambda: MLPRegressor(hidden_layer_sizes=(8,), max_iter=50, random_state=0),
        "RandomForestClassifier": lambda: RandomForestClassifier(3, random_state=0),
        "SVC": SVC,
    }


# What is refused, and what it says.
REFUSED = {
    "MLPRegressor": "want logits [rows, classes] of 2 classes or more",
    "RandomForestClassifier": "operator 'TreeEnsembleClassifier' of domain 'ai.onnx.ml'",
    "SVC": "operator 'SVMClassifier' of domain 'ai.onnx.ml'",
    "GaussianNB": "no parameter matches kinds [linear]",  # it is served, and has no products
}


def softmax(z):
    p = np.exp(np.asarray(z, np.float64) - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def onnxruntime_answer(path, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    y = session.run(None, {session.get_inputs()[0].name: x})[-1]
    return np.float64([[row[k] for k in sorted(row)] for row in y]) if isinstance(y, list) else y


def layers_of(model):
    """(transform of inputs, [weights [in, out], biases, ...]) of what is linear layers with ReLU
    between them, or None."""
    last = model[-1] if hasattr(model, "steps") else model
    before = model[:-1].transform if hasattr(model, "steps") else (lambda x: x)
    if "PCA(" in str(model):
        return None  # whose projection is a product, and adapted with the others
    if hasattr(last, "coefs_"):
        return before, [v.astype(np.float64) for pair in zip(last.coefs_, last.intercepts_)
                        for v in pair]
    if hasattr(last, "coef_") and "log" not in str(getattr(last, "loss", "")):
        return before, [np.float64(last.coef_.T), np.float64(last.intercept_)]
    return None


def reference(model, x):
    """Logits before the first step of Tent, and after the last, by finite differences."""
    before, params = layers_of(model)
    x = np.asarray(before(x), np.float64)

    def logits():
        z = x
        for i in range(0, len(params), 2):
            z = (np.maximum(z, 0) if i else z) @ params[i] + params[i + 1]
        return z

    def loss():
        p = softmax(logits())
        return -(p * np.log(p)).sum(1).mean()

    first = logits()
    for _ in range(zoo.STEPS):
        gradients = []
        for v in params:
            g = np.zeros_like(v)
            for i in np.ndindex(v.shape):
                was, ends = v[i], []
                for h in (1e-5, -1e-5):
                    v[i] = was + h
                    ends.append(loss())
                v[i] = was
                g[i] = (ends[0] - ends[1]) / 2e-5
            gradients.append(g)
        for v, g in zip(params, gradients):
            v -= RATE * g
    return first, logits()


def ttad_answers(args, path, policy, x, times):
    np.save(args.keep / "x.npy", np.concatenate([x] * times))
    zoo.run(args, "adapt", path, "--policy", args.keep / policy, "--inputs", args.keep / "x.npy",
            "--batch", ROWS, "--outputs", args.keep / "y.npy")
    return np.load(args.keep / "y.npy").reshape(times, ROWS, -1)


def examine(args, row, model, classes, path, x):
    """Fill a row; raises what ttad says of a file that it does not take."""
    got = ttad_answers(args, path, "source.yaml", x, 1)[0]
    want = onnxruntime_answer(path, x)
    given = (want >= 0).all() and np.allclose(want.sum(1), 1, atol=1e-4)
    got = got[:, 1:] if want.shape[1] == 1 else got  # one of two scores
    error = np.abs((softmax(got) if given else got) - want).max() / np.abs(want).max()
    row["loads"], row["error"] = "yes", f"{error:.1e}"
    if not error <= zoo.TOLERANCE:
        row["why"] = f"answers differ by more than {zoo.TOLERANCE}"
    kinds, found = zoo.selected(args, path)
    row["selected"] = f"{kinds}: {found}"
    answers = ttad_answers(args, path, "tent.yaml", x, zoo.STEPS + 1)
    row["entropy"] = f"{zoo.entropy(answers[0]):.4f} → {zoo.entropy(answers[-1]):.4f}"
    if not zoo.entropy(answers[-1]) < zoo.entropy(answers[0]):
        row["why"] = "the entropy does not fall"
    if classes > 2 and layers_of(model):
        first, last = reference(model, x)
        moved, theirs = answers[-1] - answers[0], last - first
        drift = np.abs(moved - theirs).max() / np.abs(theirs).max()
        row["drift"] = f"{drift:.1e}"
        if not drift <= DRIFT:
            row["why"] = "the steps differ from those by finite differences"


def one(args, name, make, classes):
    """(row of the table, whether it is not as it should be)"""
    import skl2onnx
    from sklearn.datasets import make_classification

    row = {"model": name, "classes": classes, "loads": "no", "error": "", "selected": "",
           "entropy": "", "drift": "", "why": ""}
    x, y = make_classification(300, FEATURES, n_informative=6, n_classes=classes, random_state=0)
    x = x.astype(np.float32)
    model = make().fit(x, y)
    path = str(args.keep / f"sklearn-{name.replace(' ', '').replace(',', '-')}-{classes}.onnx")
    pathlib.Path(path).write_bytes(skl2onnx.to_onnx(model, x[:1]).SerializeToString())
    try:
        examine(args, row, model, classes, path, x[:ROWS])
    except RuntimeError as e:
        row["why"] = str(e).replace(path + ": ", "").partition(": ")[2]
        row["why"] = row["why"].replace(f"{args.keep}/", "")
        want = REFUSED.get(name)
        return row, not want or want not in row["why"]
    return row, bool(row["why"]) or name in REFUSED


def table(rows):
    lines = ["| model | classes | loads | to ONNX Runtime | selected: scalars | entropy, two steps "
             "| to steps by finite differences | |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(str(v).replace("|", "\\|") for v in r.values()) + " |" for r in rows]
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--ttad", type=pathlib.Path, default=zoo.ROOT / "build/release/ttad")
    p.add_argument("--only", default="", help="names that begin so")
    p.add_argument("--write", type=pathlib.Path, help="a document to write the table into")
    p.add_argument("--keep", type=pathlib.Path, default=zoo.ROOT / "build/zoo")
    args = p.parse_args()
    warnings.filterwarnings("ignore")
    try:
        import onnxruntime
        import skl2onnx
        import sklearn
    except ImportError as e:
        print(f"zoo_sklearn: {e}: no table of scikit-learn's models (needs scikit-learn, skl2onnx, "
              "onnxruntime)", file=sys.stderr)
        return 0
    args.keep.mkdir(parents=True, exist_ok=True)
    (args.keep / "source.yaml").write_text(zoo.SOURCE)
    (args.keep / "tent.yaml").write_text(TENT)
    rows = []
    for name, make in classifiers().items():
        for classes in (2, 3):
            if not name.startswith(args.only):
                continue
            rows.append(one(args, name, make, classes))
            if rows[-1][1]:
                print(f"WRONG: {rows[-1][0]}", file=sys.stderr)
    text = (f"{datetime.date.today()}: scikit-learn {sklearn.__version__}, skl2onnx "
            f"{skl2onnx.__version__}, ONNX Runtime {onnxruntime.__version__}.\n\n"
            f"{table([r for r, _ in rows])}")
    print(text)
    if args.write:
        zoo.write(args.write, text, BEGIN)
    return 1 if any(wrong for _, wrong in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
