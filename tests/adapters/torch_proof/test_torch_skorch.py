"""The layers in scikit-learn's hands: a pipeline with skorch, searched by GridSearchCV."""

from __future__ import annotations

from typing import Any

import pytest
from proof_subject import cls

torch = pytest.importorskip("torch", reason="the proof needs torch", exc_type=ImportError)
np = pytest.importorskip("numpy")
pytest.importorskip("sklearn", reason="the pipeline is scikit-learn's")
skorch = pytest.importorskip("skorch", reason="skorch makes a classifier of a torch module")
from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import Pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Classifier(torch.nn.Module):
    """Which of two kinds of sequences this is, from the last state."""

    def __init__(self, layer: str = "LSTM", hidden: int = 8) -> None:
        super().__init__()
        self.layer = cls(layer)(1, hidden, batch_first=True)
        self.head = torch.nn.Linear(hidden, 2)

    def forward(self, x: Any) -> Any:
        return self.head(self.layer(x)[0][:, -1])


def waves(count: int) -> tuple[Any, Any]:
    """Slow and quick sines with noise, in raw units ten times too large."""
    rng = np.random.default_rng(0)
    kind = np.arange(count) % 2
    phase = rng.uniform(0, 6, (count, 1))
    x = np.sin(phase + np.arange(20) * np.where(kind, 1.2, 0.4)[:, None])
    return (10 * x + rng.normal(size=x.shape)).astype(np.float32), kind.astype(np.int64)


def shape(x: Any) -> Any:
    return (x / 10)[:, :, None]


def pipeline() -> Any:
    torch.manual_seed(0)
    net = skorch.NeuralNetClassifier(
        Classifier,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.02,
        max_epochs=15,
        batch_size=32,
        train_split=None,
        verbose=0,
    )
    return Pipeline([("shape", FunctionTransformer(shape)), ("net", net)])


def test_a_grid_search() -> None:
    x, kind = waves(160)
    grid = {"net__module__layer": ["LSTM", "GRU", "RNN"], "net__module__hidden": [4, 12]}
    search = GridSearchCV(pipeline(), grid, cv=2, scoring="accuracy", error_score="raise")
    search.fit(x, kind)
    assert len(search.cv_results_["params"]) == 6
    assert search.best_score_ > 0.9
    best = search.best_estimator_.named_steps["net"].module_
    assert isinstance(best.layer, cls(search.best_params_["net__module__layer"]))
    assert (search.predict(x) == kind).mean() > 0.9


def test_an_estimator_is_cloned_and_saved(tmp_path: Any) -> None:
    x, kind = waves(64)
    fitted = pipeline().fit(x, kind)
    again = clone(fitted).set_params(net__max_epochs=0).fit(x, kind)
    net = fitted.named_steps["net"]
    net.save_params(f_params=tmp_path / "weights.pt")
    again.named_steps["net"].load_params(f_params=tmp_path / "weights.pt")
    assert np.array_equal(again.predict_proba(x), fitted.predict_proba(x))
