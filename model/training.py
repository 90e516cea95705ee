"""The training loop: batches in, checkpoints and a log out; stopped at any moment, it resumes as if it had not been."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from model.architectures import new_network
from model.batches import Batch, Epoch, Mixture
from model.checkpoint import average_weights, first_mismatch, save_checkpoint
from model.config import ModelConfig
from model.errors import CheckpointError, VocabularyError
from model.loss import Loss, compiled_loss, label_smoothed_loss, sample_words
from model.optimizers import Optimizers
from model.preparation import describe
from model.progress import Progress
from model.recipe import Recipe, TrainingSection
from model.schedule import constant_rate, cooldown, paper_rate
from model.team import Team
from model.transfer import transfer_weights
from model.validation import ValidationSet, validate
from model.vocabulary import PAD_ID, Vocabulary

STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"
RECIPE_FILE = "recipe.json"
WEIGHTS_DIR = "weights"
RESULT_DIR = "checkpoint"
MEETING_POINT = "processes"


@dataclasses.dataclass(slots=True)
class Position:
    """Where in the data and in the budget a run stands."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    """Batches of this epoch already taken."""
    target_tokens: int = 0
    seconds: float = 0.0


class Trainer:
    """One run in one directory."""

    def __init__(
        self,
        recipe: Recipe,
        config: ModelConfig,
        mixture: Mixture,
        validation: list[ValidationSet],
        run: Path,
        vocabulary_path: Path,
        device: torch.device,
        team: Team | None = None,
        earlier: Path | None = None,
    ) -> None:
        self.recipe = recipe
        self.settings: TrainingSection = recipe.training
        self.mixture = mixture
        self.validation = validation
        self.run = run
        self.vocabulary_path = vocabulary_path
        self.device = device
        self.team = team or Team()
        self.earlier = earlier
        """Checkpoint whose weights a new run begins with; None for weights drawn at random."""
        torch.manual_seed(recipe.seed)
        self.model = new_network(config).to(device)
        self.position = Position()
        self._own_random_numbers()
        self.autocast = _uses_bf16(self.settings.precision, device)
        computed_in = torch.bfloat16 if self.autocast else torch.float32
        self.optimizers = Optimizers(self.model, self.settings.optimizer, computed_in, self.team)
        self.loss: Loss = label_smoothed_loss
        if self.settings.compile_loss:
            self.loss = compiled_loss(device, computed_in)
        self._loss_sum = torch.zeros((), device=device)
        self._loss_tokens = 0

    def train(self) -> Path:
        """Train to `max_steps`; returns the directory of the averaged checkpoint."""
        self.run.mkdir(parents=True, exist_ok=True)
        if self.team.leads:
            (self.run / RECIPE_FILE).write_text(self.recipe.model_dump_json(indent=2), encoding="utf-8")
        self._resume()
        progress = Progress(self.settings.max_steps, self.position.step, quiet=not self.team.leads)
        self.model.train()
        for batch in self._batches(progress):
            started = time.monotonic()
            self._update(batch.to(self.device))
            self.position.seconds += time.monotonic() - started
            if self.position.step % self.settings.log_every == 0:
                self._report(progress)
            self._keep_and_validate(progress)
            if self.position.step >= self.settings.max_steps:
                break
        progress.close()
        result = self.run / RESULT_DIR
        if self.team.leads:
            save_checkpoint(result, **newest_average(self.run, self.vocabulary_path, self.settings.average_last))
        return result

    def _batches(self, progress: Progress) -> Iterator[Batch]:
        while self.position.step < self.settings.max_steps:
            epoch = self.mixture.epoch(self.position.epoch)
            if not self.position.batch:
                self._report_epoch(epoch, progress)
            for index in range(self.position.batch, len(epoch)):
                self.position.batch = index + 1
                yield epoch.batch(index)
            self.position.epoch += 1
            self.position.batch = 0

    def _report_epoch(self, epoch: Epoch, progress: Progress) -> None:
        if not self.position.epoch:
            for line in describe(epoch):
                progress.say(line)
        tokens = {text.name: text.target_tokens for text in epoch.texts}
        too_long = sum(text.read - len(text.source) for text in epoch.texts)
        self._log("epoch", epoch=self.position.epoch, batches=len(epoch), too_long=too_long, target_tokens_of=tokens)

    def _update(self, batch: Batch) -> None:
        self.position.step += 1
        tokens = batch.num_target_tokens
        self.optimizers.zero_grad()
        loss = self._add_gradients(self.team.part(batch), tokens)
        self.team.add_up([loss, *self._gradients()])
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.gradient_clip)
        self.optimizers.step(self.rate())
        self.position.target_tokens += tokens
        self._loss_sum += loss
        self._loss_tokens += tokens

    def _add_gradients(self, part: Batch, tokens: int) -> Tensor:
        """Gradients of this process's part of a batch of `tokens` target tokens; returns the part's loss, summed."""
        if not len(part.labels):
            return torch.zeros((), device=self.device)
        loss = self._loss(part)
        (loss / tokens).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _gradients(self) -> list[Tensor]:
        for parameter in self.model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]

    def _loss(self, batch: Batch) -> Tensor:
        """Summed over the batch; padding is left out before the projection, the dearest product of a step."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            memory = self.model.encode(batch.source_ids, batch.source_mask)
            states = self.model.decode(batch.target_ids, memory, batch.source_mask)
            wanted = batch.labels != PAD_ID
            logits, labels = self._logits(states[wanted], batch.labels[wanted])
        return self.loss(logits, labels, self.settings.label_smoothing)

    def _logits(self, states: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """states [N, D], labels [N] -> logits [N, V], or of C sampled words, and the labels' places among them."""
        if not self.settings.sampled_words:
            return self.model.project(states), labels
        matrix, bias = self.model.output_weight, self.model.output.bias
        words, weights, places = sample_words(labels, len(matrix), self.settings.sampled_words)
        weights = weights if bias is None else weights + bias[words]
        return functional.linear(states, matrix[words], weights), places

    def rate(self) -> float:
        """The learning rate of the current step."""
        settings, step = self.settings, self.position.step
        if settings.schedule == "constant":
            rate = constant_rate(settings.learning_rate, settings.warmup_steps)
        else:
            rate = paper_rate(self.model.config.d_model, settings.warmup_steps, settings.learning_rate_factor)
        return rate(step) * cooldown(step, settings.max_steps, settings.cooldown_steps)

    def _report(self, progress: Progress) -> None:
        loss = float(self._loss_sum) / self._loss_tokens
        self._loss_sum.zero_()
        tokens, self._loss_tokens = self._loss_tokens, 0
        speed = progress.update(
            self.position.step, tokens, f"loss {loss:.3f} lr {self.rate():.2e} epoch {self.position.epoch}"
        )
        self._log("train", loss=loss, learning_rate=self.rate(), tokens_per_second=speed)

    def _keep_and_validate(self, progress: Progress) -> None:
        step, last = self.position.step, self.position.step == self.settings.max_steps
        # The log comes first: what it says beyond the state is dropped on resuming, never repeated or lost.
        if self.team.leads and self.validation and (step % self.settings.validate_every == 0 or last):
            for row in validate(self.model, self.validation, self.settings.label_smoothing):
                self._log("validation", **row)
                progress.say(f"step {step} {row}")
        if step % self.settings.checkpoint_every == 0 or last:
            self._save()

    def _log(self, kind: str, **values: Any) -> None:
        row = {"kind": kind, "step": self.position.step, "target_tokens": self.position.target_tokens,
               "seconds": round(self.position.seconds, 1), **values}  # fmt: skip
        if not self.team.leads:
            return
        with (self.run / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(row, ensure_ascii=False) + "\n")

    def _save(self) -> None:
        random = self.team.collect(torch.get_rng_state())
        if not self.team.leads:
            return
        weights = self.run / WEIGHTS_DIR
        weights.mkdir(exist_ok=True)
        _write_atomically(weights / f"{self.position.step:08d}.pt", self.model.state_dict())
        state = {
            "position": dataclasses.asdict(self.position),
            "model": self.model.state_dict(),
            "optimizers": self.optimizers.state(),
            "random": random,
            "cuda_random": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            "loss": (float(self._loss_sum), self._loss_tokens),
            "seed": self.recipe.seed,
            "data": self._data_digest(),
        }
        _write_atomically(self.run / STATE_FILE, state)
        for old in sorted(weights.glob("*.pt"))[: -self.settings.average_last]:
            old.unlink()

    def _data_digest(self) -> str:
        """What the batches of an epoch depend on, apart from the texts themselves."""
        section = self.recipe.training
        described = [data.model_dump_json() for data in self.recipe.data]
        return hashlib.sha256(repr((described, section.batch_tokens, section.longest)).encode()).hexdigest()

    def _resume(self) -> None:
        path = self.run / STATE_FILE
        if not path.exists():
            if self.team.leads:
                (self.run / LOG_FILE).unlink(missing_ok=True)
            self._begin()
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["seed"] != self.recipe.seed:
            raise CheckpointError(
                f"{path}: the run began with seed {state['seed']}, the recipe says {self.recipe.seed}"
            )
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: the recipe describes another model; choose another --out: {first_mismatch(error)}"
            ) from error
        self.optimizers.restore(state["optimizers"])
        self.position = Position(**state["position"])
        if state["data"] != self._data_digest() and self.position.batch:
            # Another mixture has other batches: it begins with an epoch of its own.
            self.position.epoch += 1
            self.position.batch = 0
        if self.team.size == len(state["random"]):
            torch.set_rng_state(state["random"][self.team.rank].cpu())
        else:
            self._own_random_numbers()
        if self.device.type == "cuda":
            torch.cuda.set_rng_state_all([part.cpu() for part in state["cuda_random"]])
        self._loss_sum.fill_(state["loss"][0])
        self._loss_tokens = state["loss"][1]
        if self.team.leads:
            _drop_log_after(self.run / LOG_FILE, self.position.step)

    def _begin(self) -> None:
        if self.earlier is not None:
            shared = transfer_weights(self.model, Vocabulary.load(self.vocabulary_path), self.earlier)
            self._log("transfer", earlier=str(self.earlier), shared_pieces=shared)

    def _own_random_numbers(self) -> None:
        """Dropout of its own for every process; the first goes on with what the weights were drawn from."""
        if not self.team.leads:
            torch.manual_seed(self.recipe.seed + (self.team.rank << 32) + self.position.step)


def newest_average(run: Path, vocabulary_path: Path, last: int) -> dict[str, Any]:
    """The arguments of `save_checkpoint` for the mean of the run's newest `last` saved weights.

    Raises:
        CheckpointError: the run has saved nothing yet.
        VocabularyError: the vocabulary is not the run's.
    """
    newest = sorted((run / WEIGHTS_DIR).glob("*.pt"))[-last:]
    if not newest:
        raise CheckpointError(f"{run / WEIGHTS_DIR}: nothing to average: no weights were saved yet")
    recipe = Recipe.model_validate_json((run / RECIPE_FILE).read_text(encoding="utf-8"))
    vocabulary = Vocabulary.load(vocabulary_path)
    weights = average_weights(torch.load(path, map_location="cpu", weights_only=True) for path in newest)
    trained_size = len(weights["embedding.tokens.weight"])
    if trained_size != len(vocabulary):
        raise VocabularyError(
            f"{vocabulary_path}: {len(vocabulary)} pieces, the run was trained with {trained_size}; give its vocabulary"
        )
    return {
        "config": recipe.config_for(len(vocabulary)),
        "weights": weights,
        "vocabulary_path": vocabulary_path,
        "name": recipe.name,
        "directions": recipe.directions,
        "training": {"recipe": recipe.name, "averaged_steps": [int(path.stem) for path in newest]},
    }


def _uses_bf16(precision: str, device: torch.device) -> bool:
    """bf16 pays on CUDA and on CPUs that compute in it (AVX512-BF16, AMX); elsewhere it is slower than fp32."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _write_atomically(path: Path, value: Any) -> None:
    scratch = path.with_suffix(".partial")
    with scratch.open("wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)


def _drop_log_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    # "replace": the last line of a killed process may end inside a character.
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        if row["step"] <= step:
            kept.append(line + "\n")
    scratch = path.with_suffix(".partial")
    scratch.write_text("".join(kept), encoding="utf-8")
    os.replace(scratch, path)
