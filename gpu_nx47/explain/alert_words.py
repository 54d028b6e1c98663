"""The alerts in French; in English they speak for themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Words:
    """What an alert says, and advises."""

    sentence: str
    advice: str


FRENCH: Final[dict[str, Words]] = {
    "ANCHOR_WEAK": Words(
        "Les voxels ancrés font moins d'un dixième des voxels calibrés : le masque repose sur un quantile, pas sur "
        "des preuves.",
        "Baisser segment.strong, ou regarder la probabilité (--save probability).",
    ),
    "CALIBRATION_CARRIES": Words(
        "Plus de la moitié du masque final n'est là que parce qu'une part de voxels actifs était demandée.",
        "Baisser segment.ratio, ou le laisser mesurer.",
    ),
    "NO_SURFACE": Words(
        "Rien ici ne se distingue de ce que donnerait le hasard.",
        "Ne pas lire le masque comme une surface ; regarder le volume, son échelle et sa fenêtre.",
    ),
    "NO_LEARNING": Words(
        "Sur des voxels tenus à l'écart, le neurone ne fait pas mieux que de répondre toujours leur part.",
        "Regarder le volume et les caractéristiques retenues ; il ne faut pas se fier au masque.",
    ),
    "OUT_OF_DISTRIBUTION": Words(
        "Beaucoup de voxels ancrés ont des caractéristiques que les volumes précédents n'avaient presque jamais.",
        "Comparer ce volume aux autres : un autre scanner, une autre échelle, une autre fenêtre ?",
    ),
    "RECTO_UNKNOWN": Words(
        "Le côté où se trouve l'axe du rouleau est indécidable, donc le recto et le verso aussi : les deux faces sont "
        "marquées.",
        "Travailler sur un plus grand morceau du rouleau, ou donner son axe avec --umbilicus.",
    ),
    "FRAME_ARTIFACT": Words(
        "Le masque est bien plus dense au bord de la boîte valide que la part de voxels du bord ne l'explique.",
        "Regarder les images (overlays) : un cadre ou un remplissage n'est peut-être pas nul.",
    ),
    "CONSTANT_VOLUME": Words(
        "Tous les voxels de la boîte valide ont la même valeur, ou il n'y en a aucun.",
        "Regarder le fichier : il n'y a rien à y trouver. Son masque est vide.",
    ),
    "TIES_SATURATE": Words(
        "Beaucoup de voxels ont exactement la même probabilité : la part demandée ne peut pas être tenue.",
        "Donner un segment.ratio au-dessus de l'égalité, ou garder plus de caractéristiques (features.top_k).",
    ),
    "NON_FINITE": Words(
        "Certaines valeurs ne sont pas des nombres.",
        "Regarder l'entrée nommée : un tel chiffre n'est pas une mesure.",
    ),
    "SCALE_MISMATCH": Words(
        "Les voxels de ce volume n'ont pas la taille de ceux du premier : les échelles en voxels n'y ont pas le même "
        "sens.",
        "Traiter ensemble des volumes de même taille de voxel.",
    ),
    "SHAPE_DIFFERS": Words(
        "Cette pile n'a pas la forme de son étiquette, ou a moins de pages que ses voisines : peut-être est-elle "
        "coupée.",
        "La comparer à l'original. Elle est traitée telle quelle.",
    ),
    "LABELS_UNUSED": Words(
        "Des volumes étiquetés sont là, et le mode autonome ne les regarde pas.",
        "Donner --train pour apprendre d'eux, ou --model avec ce que `nx47 train` a appris.",
    ),
    "LABELS_MISPLACED": Words(
        "Des étiquettes marquent une surface là où l'image ne contient rien : décalées, ou d'un autre volume.",
        "Comparer l'image et ses étiquettes ; un décalage d'une coupe se voit ici. La paire est utilisée telle quelle.",
    ),
    "LABELS_ODD": Words(
        "Ce que les volumes étiquetés enseignent ensemble ne vaut pas pour celui-ci.",
        "Vérifier que ses étiquettes sont celles de son image, et de quel côté est l'axe du rouleau. La paire est "
        "utilisée telle quelle.",
    ),
    "GPU_FALLBACK": Words(
        "Le CPU a fait une part du travail du GPU, faute de mémoire : les mêmes bits, plus lentement.",
        "Libérer le GPU des autres programmes, ou donner un --tile plus petit ; chaque étape est un événement "
        "GPU_FALLBACK_DETECTED.",
    ),
    "INPUT_DAMAGED": Words(
        "Un fichier est inutilisable ; l'exécution continue sans lui.",
        "Suivre le conseil de son FILE_FAILED : le plus souvent, copier de nouveau le fichier.",
    ),
    "SUBMISSION_INVALID": Words(
        "La soumission n'a pas passé son propre contrôle.",
        "Ne pas l'envoyer. C'est un défaut du programme : le signaler avec ce journal.",
    ),
    "TIME_BUDGET": Words(
        "Le temps accordé ne suffit pas pour tous les volumes.",
        "Accorder plus de temps (--time-budget), ou traiter les volumes restants dans une autre exécution.",
    ),
    "STALL": Words(
        "L'exécution n'a plus donné de nouvelles pendant ce nombre de secondes : une longue étape, ou un blocage.",
        "Lire la pile dans le registre : un disque réseau ou une machine qui échange sa mémoire en sont les causes "
        "habituelles. L'exécution continue.",
    ),
}
"""Sentence and advice of each code of `gpu_nx47.alerts.KINDS`."""
