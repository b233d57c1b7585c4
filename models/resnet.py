"""ResNet-18 without pretraining and the 224-pixel generator of opetrova/SemiSupervisedPytorchGAN (28ccd72, 2020)."""
import torch
from torch import Tensor, nn

from config import Spec, UserError
from ops import Pixels, Verdict, at_least_float32, verdict

N_Z = 100
WIDTHS = (512, 256, 128, 64)


class Discriminator(nn.Module):
    """torchvision's ResNet-18 with random weights (He et al. 2016), on pixels in [0, 1] that are not standardised. The
    features are its global average pool [B, 512]."""

    pixels = Pixels(0, 255)

    def __init__(self, spec: Spec, logits: int):
        from torchvision.models import resnet18  # here: it takes seconds to import
        super().__init__()
        self.classes = spec.classes
        self.body = resnet18(weights=None)
        self.body.fc = nn.Identity()
        if spec.shape[2] != 3:
            self.body.conv1 = nn.Conv2d(spec.shape[2], 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.body.conv1.weight, mode="fan_out", nonlinearity="relu")  # as theirs
        self.head = nn.Linear(512, logits)
        # Its last halving begins at 1 x 1 then. On a CPU in bfloat16 torch (2.15.0 at least) leaves the outer weights'
        # gradients of such a 3x3 convolution of stride 2 unset: they are what was in that memory before.
        self.exact = min(spec.shape[:2]) <= 16

    def forward(self, x: Tensor) -> Verdict:
        with torch.autocast(x.device.type, enabled=torch.is_autocast_enabled(x.device.type) and not self.exact):
            features = self.body(x)
        return verdict(self.head(features), features, self.classes)


class Generator(nn.Module):
    """z ~ N(0, 1)^100 -> transposed convolutions to 512 maps of the start, 256 and 128 of twice the size each, 64 of
    four times and the image of twice the size, so that 7 x 7 becomes 224 x 224; batch norm and ReLU between them, at
    the end (tanh + 1) / 2. Of images under 128 pixels, or of a size that is no multiple of 32, the fourth layer only
    doubles: 64 pixels start from 4 x 4, not from 2 x 2. Weights N(0, 0.02^2), gains N(1, 0.02^2)."""

    def __init__(self, spec: Spec):
        super().__init__()
        height, width, channels = spec.shape
        leap = 4 if min(height, width) >= 128 and not (height % 32 or width % 32) else 2
        start = height // (8 * leap), width // (8 * leap)
        a, b, c, d = WIDTHS
        layers = [nn.ConvTranspose2d(N_Z, a, start, bias=False), _double(a, b), _double(b, c),
                  nn.ConvTranspose2d(c, d, 4, stride=4, bias=False) if leap == 4 else _double(c, d)]
        self.up = nn.Sequential(*[part for layer in layers
                                  for part in (layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU())])
        self.out = _double(d, channels)
        for layer in self.modules():
            if isinstance(layer, nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=0.02)
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, 1.0, 0.02)

    def prior(self, n: int, device: torch.device | str) -> Tensor:
        return torch.randn(n, N_Z, device=device)

    def forward(self, z: Tensor) -> Tensor:
        return (torch.tanh(at_least_float32(self.out(self.up(z[:, :, None, None])))) + 1) / 2


def _double(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def build(spec: Spec, head: str = "implicit") -> dict[str, nn.Module]:
    """Nets for sizes that are multiples of 16, published for 224 x 224."""
    if spec.shape[0] % 16 or spec.shape[1] % 16:
        raise UserError(f"--model resnet18 takes sizes that are multiples of 16, as 64 or 224; {spec.name} is "
                        f"{spec.shape[0]}x{spec.shape[1]}. Use --model mlp, or images of another size")
    return {"D": Discriminator(spec, spec.logits(head)), "G": Generator(spec)}
