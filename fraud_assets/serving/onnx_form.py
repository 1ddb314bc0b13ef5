"""Boosted trees as an ONNX graph of one node, for the runtime that scores a row fastest.

Only the trees are translated here, from what the libraries write themselves; whether the result
says the same as the library is checked where it is used (`compiled`). The graph gives the margin:
a probability of float32 could not be turned back into it. onnxmltools has no graph that gives
LightGBM's margin, and rounds its thresholds of float64 to float32, where a value may change sides.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fraud_assets.modeling.estimators import Estimator

INPUT: Final = "features"
OUTPUT: Final = "margin"

_ML_OPSET: Final = 3
_OPSET: Final = 18
_IR_VERSION: Final = 9


class NotConvertibleError(ValueError):
    """The model has no ONNX form here; says why."""


@dataclass
class Trees:
    """Trees as columns, one entry per node, in the words of ONNX's `TreeEnsembleRegressor`.

    Attributes:
        mode: how a value is compared with the threshold; true goes to `yes`.
        is_double: whether the thresholds and the sums are float64, and so the input.
        base: what is added to the sum of the leaves.
    """

    mode: str
    is_double: bool
    base: float = 0.0
    tree: list[int] = field(default_factory=list)
    node: list[int] = field(default_factory=list)
    feature: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    yes: list[int] = field(default_factory=list)
    no: list[int] = field(default_factory=list)
    missing_is_yes: list[int] = field(default_factory=list)
    leaf: list[bool] = field(default_factory=list)

    def add_split(
        self, tree: int, node: int, *, feature: int, threshold: float, yes: int, no: int,
        missing_is_yes: bool,
    ) -> None:  # fmt: skip
        """A node that asks."""
        self._add(tree, node, threshold, is_leaf=False)
        self.feature.append(feature)
        self.yes.append(yes)
        self.no.append(no)
        self.missing_is_yes.append(int(missing_is_yes))

    def add_leaf(self, tree: int, node: int, value: float) -> None:
        """A node that answers."""
        self._add(tree, node, value, is_leaf=True)
        for column in (self.feature, self.yes, self.no, self.missing_is_yes):
            column.append(0)

    def _add(self, tree: int, node: int, number: float, *, is_leaf: bool) -> None:
        self.tree.append(tree)
        self.node.append(node)
        self.threshold.append(number)
        self.leaf.append(is_leaf)


def trees_of(estimator: Estimator) -> Trees:
    """The trees of a fitted XGBoost or LightGBM model, those of the rounds that were kept.

    Raises:
        NotConvertibleError: another family, or something that the graph cannot say.
    """
    readers = {".ubj": _xgboost_trees, ".txt": _lightgbm_trees}
    reader = readers.get(Path(estimator.file_name).suffix)
    if reader is None:
        raise NotConvertibleError(f"{estimator.name} consists of no trees")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / estimator.file_name
        estimator.save(path)
        return reader(path)


def graph_of(trees: Trees, features: int) -> bytes:
    """The serialised ONNX model: `features` (rows, features) to `margin` (rows, 1)."""
    from onnx import TensorProto, helper

    number = TensorProto.DOUBLE if trees.is_double else TensorProto.FLOAT
    leaves = [i for i, is_leaf in enumerate(trees.leaf) if is_leaf]
    thresholds = [0.0 if leaf else t for t, leaf in zip(trees.threshold, trees.leaf, strict=True)]
    weights = [trees.threshold[i] for i in leaves]

    def numbers(name: str, values: list[float]) -> dict[str, Any]:
        if not trees.is_double:
            return {name: values}
        return {f"{name}_as_tensor": helper.make_tensor(name, number, [len(values)], values)}

    node = helper.make_node(
        "TreeEnsembleRegressor",
        [INPUT],
        [OUTPUT],
        domain="ai.onnx.ml",
        n_targets=1,
        post_transform="NONE",
        nodes_treeids=trees.tree,
        nodes_nodeids=trees.node,
        nodes_featureids=trees.feature,
        nodes_modes=["LEAF" if leaf else trees.mode for leaf in trees.leaf],
        nodes_truenodeids=trees.yes,
        nodes_falsenodeids=trees.no,
        nodes_missing_value_tracks_true=trees.missing_is_yes,
        target_treeids=[trees.tree[i] for i in leaves],
        target_nodeids=[trees.node[i] for i in leaves],
        target_ids=[0] * len(leaves),
        **numbers("nodes_values", thresholds),
        **numbers("target_weights", weights),
        **numbers("base_values", [trees.base]),
    )
    graph = helper.make_graph(
        [node],
        "fraud",
        [helper.make_tensor_value_info(INPUT, number, [None, features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    return bytes(model.SerializeToString())


def _xgboost_trees(path: Path) -> Trees:
    import xgboost

    learner = json.loads(xgboost.Booster(model_file=path).save_raw("json"))["learner"]
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise NotConvertibleError(f"XGBoost's booster {booster['name']} is not translated")
    # Newer versions write a list, one number per target.
    start = float(learner["learner_model_param"]["base_score"].strip("[]"))
    trees = Trees(mode="BRANCH_LT", is_double=False, base=math.log(start / (1.0 - start)))
    for number, tree in enumerate(booster["model"]["trees"]):
        if any(tree["split_type"]):
            raise NotConvertibleError("XGBoost's splits by category are not translated")
        for i, left in enumerate(tree["left_children"]):
            value = tree["split_conditions"][i]  # of a leaf: what it adds
            if left == -1:
                trees.add_leaf(number, i, value)
            else:
                trees.add_split(
                    number,
                    i,
                    feature=tree["split_indices"][i],
                    threshold=value,
                    yes=left,
                    no=tree["right_children"][i],
                    missing_is_yes=bool(tree["default_left"][i]),
                )
    return trees


def _lightgbm_trees(path: Path) -> Trees:
    import lightgbm

    dumped = lightgbm.Booster(model_str=path.read_text("utf-8")).dump_model()
    if dumped["average_output"]:
        raise NotConvertibleError("LightGBM's averages of trees are not translated")
    trees = Trees(mode="BRANCH_LEQ", is_double=True)
    for number, tree in enumerate(dumped["tree_info"]):
        waiting = [(0, tree["tree_structure"])]
        given = 1
        while waiting:
            place, node = waiting.pop()
            if "split_index" not in node:
                trees.add_leaf(number, place, node["leaf_value"])
                continue
            if node["decision_type"] != "<=" or node["missing_type"] == "Zero":
                raise NotConvertibleError(
                    f"LightGBM's splits by {node['decision_type']} with missing values as "
                    f"{node['missing_type']} are not translated"
                )
            threshold = node["threshold"]
            # Where no training row lacked the value, LightGBM takes a missing one for zero.
            missing_is_yes = (
                node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0.0
            )
            trees.add_split(
                number,
                place,
                feature=node["split_feature"],
                threshold=threshold,
                yes=given,
                no=given + 1,
                missing_is_yes=missing_is_yes,
            )
            waiting += [(given, node["left_child"]), (given + 1, node["right_child"])]
            given += 2
    return trees
